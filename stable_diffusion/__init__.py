"""Text-to-image generation of balanced synthetic faces, on diffusers."""
