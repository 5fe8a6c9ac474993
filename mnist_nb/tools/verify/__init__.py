"""Notebooks kept in one form, and checked against what they show."""

import mnist_nb.tools.no_grammar  # noqa: F401, before nbformat
