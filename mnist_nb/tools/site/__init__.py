"""Publish the notebooks as pages and slides that work offline."""

import mnist_nb.tools.skip_rfc3987  # noqa: F401, before nbformat
