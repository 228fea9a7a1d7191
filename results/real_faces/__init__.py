"""The evidence on real faces: `python -m results.real_faces`, and its pages."""
