"""Spaces: what may be drawn, and how it is drawn."""
