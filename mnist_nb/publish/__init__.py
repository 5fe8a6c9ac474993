"""Notebooks kept in one form, and held to what they show."""

import mnist_nb.no_grammar  # noqa: F401, before nbformat
