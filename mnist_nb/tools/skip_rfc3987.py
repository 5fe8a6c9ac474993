"""Stop jsonschema from loading the rfc3987-syntax grammar, which takes a second per process.

nbformat imports jsonschema, which uses that grammar to check internationalised web addresses.
The notebook schema has none. Each subpackage that imports nbformat imports this module first, and
pytest loads it as a plugin. The next word tells pytest not to rewrite it: PYTEST_DONT_REWRITE.
"""

import sys

# None makes Python treat the package as not installed. JupyterLab never imports this module.
sys.modules.setdefault("rfc3987_syntax", None)
