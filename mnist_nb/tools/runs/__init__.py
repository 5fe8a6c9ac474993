"""Run notebooks with parameters, one or many, and read the records of their runs."""

import mnist_nb.tools.skip_rfc3987  # noqa: F401, before nbformat
