"""Take a digest of each part of an executed notebook, and name the parts that were changed since.

A digest finds a careless edit without running anything. It proves nothing, as whoever changes a
part can also change its digest: `mnist_nb.tools.verify.records` runs the notebook again.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

KEY = "digest"  # in the metadata under mnist_nb
_OF_EDITORS = (
    "collapsed",
    "scrolled",
    "jupyter",
    "trusted",
    "ExecuteTime",
)  # in a cell's metadata


def digest(notebook: Mapping) -> dict[str, str]:
    """Return part -> the start of its SHA-256 hash, for the parts that `_parts` names."""
    return {part: _sha256(content)[:16] for part, content in _parts(notebook)}


def changed_parts(notebook: Mapping) -> list[str]:
    """Return the parts that have changed since the digest was taken; none for older records."""
    machine = dictionary(notebook["metadata"].get("mnist_nb"))
    then = machine.get(KEY)
    if not isinstance(then, Mapping):
        return ["the digest itself"] if "package_sha256" in machine else []
    now = digest(notebook)
    return [part for part in {**now, **then} if now.get(part) != then.get(part)]


def _parts(notebook: Mapping) -> Iterator[tuple[str, Any]]:
    """Yield (name, content) of each part of a notebook that a run has made or used."""
    metadata = notebook["metadata"]
    machine = dictionary(metadata.get("mnist_nb"))
    yield "what it says of the machine", {k: v for k, v in machine.items() if k != KEY}
    yield "what papermill says of the run", metadata.get("papermill")
    yield "the order of the cells", [cell.get("id") for cell in notebook["cells"]]
    for number, cell in enumerate(notebook["cells"], start=1):
        name = f"cell {cell.get('id', number)}"
        yield f"the source of {name}", [cell["cell_type"], cell["source"]]
        yield (
            f"the metadata of {name}",
            {key: value for key, value in cell["metadata"].items() if key not in _OF_EDITORS},
        )
        if cell["cell_type"] == "code":
            yield f"the outputs of {name}", [cell["execution_count"], cell["outputs"]]


def dictionary(value: Any) -> Mapping:
    """Return `value` if it is a dictionary, else an empty one: metadata may be anything."""
    return value if isinstance(value, Mapping) else {}


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
