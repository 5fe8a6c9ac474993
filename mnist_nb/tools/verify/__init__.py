"""Refresh notebooks, keep them in normal form, and compare their outputs with new ones."""

import mnist_nb.tools.skip_rfc3987  # noqa: F401, before nbformat
