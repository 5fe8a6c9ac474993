"""Find nbgrader, which `make` installs aside, and skip tests without it."""

import importlib.util
import sys

import pytest
from conftest import PROJECT

ASIDE = PROJECT / "build" / "nbgrader"
if not importlib.util.find_spec("nbgrader") and (ASIDE / "nbgrader").is_dir():
    sys.path.append(str(ASIDE))
needs_nbgrader = pytest.mark.skipif(
    not importlib.util.find_spec("nbgrader"),
    reason="nbgrader is not there; `make build/nbgrader/.ready` puts it aside",
)
