"""Notebooks run with parameters, and the records that they leave."""

import mnist_nb.tools.no_grammar  # noqa: F401, before nbformat
