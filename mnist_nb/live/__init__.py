"""Show parts that compute in the browser, in a notebook and on its page, without a kernel.

A part is one HTML output. Where its script may not run, readers see its still content.
"""

import base64
import json
import re
from pathlib import Path

import numpy as np

_HERE = Path(__file__).parent
_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const) (\w+))", re.MULTILINE)
NAMES = frozenset(path.stem for path in _HERE.glob("*.js")) - {"start"}
ON_PAGES = frozenset({"trainer"})  # those that a page puts below a cell of text, by `on_page`


class Live:
    """An output that `NAME.js`, beside this file, fills in the browser."""

    def __init__(self, name: str, data: dict, still: str, text: str):
        """Build the output: `start(place, data, program)` of `NAME.js` fills an empty div.

        Args:
            name: of the file. The files that it imports come with it, and so do `live.css` and
                the `.css` of each file that has one.
            data: of JSON. Arrays and tensors in it arrive as typed arrays.
            still: the HTML that readers see where the script may not run.
            text: what stands for all of it where there is no HTML.
        """
        stored = json.dumps(data, default=_packed, allow_nan=False).replace("<", "\\u003c")
        self.html, self.text = html(name, still, stored), text

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}


def html(name: str, still: str, stored: str) -> str:
    """Return the part `name` as HTML, with `still` in it and its data `stored` as JSON."""
    files = _files(name)
    style = "".join(_read(f"{each}.css") for each in ("live", *files))
    return f"""<style>\n{style}</style>
<div class="mnist-nb-live" data-part="{name}">{still}</div>
<script type="application/json">{stored}</script>
<script>(() => {{
"use strict";
const program = () => {{
{"".join(files.values())}return {name}_js;
}};
{_read("start.js")}}})();</script>"""


def _files(name: str) -> dict[str, str]:
    """Return the modules that `NAME.js` needs, itself last: name -> JavaScript."""
    source, files = _read(f"{name}.js"), {}
    for _, other in _IMPORT.findall(source):
        files |= _files(other)
    exports = ", ".join(_EXPORT.findall(source))
    body = _IMPORT.sub(lambda m: f"const {m[1].replace(' as ', ': ')} = {m[2]}_js;", source)
    body = _EXPORT.sub("", body)
    files[name] = f"const {name}_js = (() => {{\n{body}return {{{exports}}};\n}})();\n"
    return files


def _read(name: str) -> str:
    path = _HERE / name
    return path.read_text(encoding="utf-8") if path.suffix == ".js" or path.exists() else ""


def _packed(array) -> dict[str, str]:
    array = np.ascontiguousarray(array)
    return {"array": array.dtype.name.title(), "base64": base64.b64encode(array).decode()}
