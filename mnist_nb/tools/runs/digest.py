"""Take a digest of each part of an executed notebook, and name the parts that were changed since.

A digest finds a careless edit without running anything. It proves nothing, as whoever changes a
part can also change its digest: `mnist_nb.tools.verify.records` runs the notebook again.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

KEY = "digest"  # in the metadata under mnist_nb
_KEPT = ("tags", "nbval", "mnist_nb")  # metadata of a cell that say how it is run and compared


def digest(notebook: Mapping) -> dict[str, str]:
    """Return part -> the start of its SHA-256 hash, for the parts that `_parts` names."""
    return {part: _sha256(content)[:16] for part, content in _parts(notebook)}


def changed_parts(notebook: Mapping) -> list[str] | None:
    """Return the parts that have changed since the digest was taken; None if there is none."""
    then = dictionary(notebook["metadata"].get("mnist_nb")).get(KEY)
    if not isinstance(then, Mapping):
        return None
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
        yield f"the metadata of {name}", {k: cell["metadata"].get(k) for k in _KEPT}
        if cell["cell_type"] == "code":
            yield f"the outputs of {name}", cell["outputs"]


def dictionary(value: Any) -> Mapping:
    """Return `value` if it is a dictionary, else an empty one: metadata may be anything."""
    return value if isinstance(value, Mapping) else {}


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
