"""Measurements of the project itself: each a module run with `python -m`, its results beside it."""
