"""How images are drawn with a loaded pipeline, checked, written and shown, and what that costs."""
