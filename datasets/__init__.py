"""Readers for real, synthetic and toy face images."""
