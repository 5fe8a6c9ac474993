"""The notebooks as pages and slides that need no network."""

import mnist_nb.tools.no_grammar  # noqa: F401, before nbformat
