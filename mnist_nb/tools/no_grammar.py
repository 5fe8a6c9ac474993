"""Let jsonschema be imported without the grammar that it builds: a second of each process.

nbformat imports it, and no schema of a notebook asks for what the grammar checks: addresses in
letters beyond ASCII. Whatever imports nbformat here imports this first. (PYTEST_DONT_REWRITE)
"""

import sys

# as if it were not installed; in JupyterLab, which never imports this module, all stays as it is
sys.modules.setdefault("rfc3987_syntax", None)
