"""Draw images with a loaded pipeline, check, write and show them, and estimate what that costs."""
