"""A code interpreter that you host."""

__version__ = "0.1.0"
