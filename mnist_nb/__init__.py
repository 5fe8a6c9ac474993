"""Provide what the notebooks import, in modules short enough to read before using them."""
