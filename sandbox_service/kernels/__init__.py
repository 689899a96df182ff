"""Jupyter messages become outputs."""
