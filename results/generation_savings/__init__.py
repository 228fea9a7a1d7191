"""What the savings of generation save, and what they do to the images and to what is trained on them."""
