"""Execute an exercise's original up to its first task, and see what its solutions change.

`examiner` does so once for all learners.
"""

import ast
import json
import os
from typing import NamedTuple

from mnist_nb.tools.classroom.wire import Crossing, random_state


class Prepared(NamedTuple):
    """An exercise whose original has been executed up to its first task.

    `cells` are those of the original, `space` the names and values so far, `first` the number of
    the first task's cell, and `random` the state of torch's global generator. `changes` maps each
    function that a solution defines to the inputs that it changes; None stands for that state.
    """

    cells: list[dict]
    space: dict
    first: int
    random: bytes
    changes: dict[str, list]

    def between(self) -> list[dict]:
        """Return the cells from the first task to the last test: no test needs what is below."""
        end = max([k + 1 for k, cell in enumerate(self.cells) if cell["test"]], default=0)
        return self.cells[self.first : end]


def names_in(source: str) -> list[str]:
    """Return the names that the outermost lines of a cell define."""
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.append(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
    return [name for name in dict.fromkeys(found) if name != "_"]


def prepare(cells: list[dict]) -> Prepared:
    """Execute an original up to its first task; see what its solutions change."""
    space = {"__name__": "__main__"}
    first = next((k for k, cell in enumerate(cells) if cell["solution"]), len(cells))
    for cell in cells[:first]:
        execute(cell, space)
    prepared = Prepared(cells, space, first, random_state(), {})
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.close(reading)
        with os.fdopen(writing, "w") as file:
            json.dump(_reference(prepared), file)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read()
    os.waitpid(child, 0)
    changes = json.loads(said or '"its Python ended"')
    if isinstance(changes, str):
        raise ValueError(changes)
    return prepared._replace(changes=changes)


def execute(cell: dict, space: dict) -> None:
    """Execute a cell of an original with the names in `space`."""
    if cell["code"]:
        exec(compile(cell["source"], f"<{cell['id']}>", "exec"), space)


def _reference(prepared: Prepared) -> dict | str:
    """Execute the original's tests; return which inputs each solution changes, or what failed.

    None stands for the state of PyTorch's common generator.
    """
    changes: dict[str, list] = {}
    space = prepared.space  # `prepare` forks a process for this
    for cell in prepared.between():
        try:
            execute(cell, space)
        except Exception as error:
            return f"its own cell {cell['id']} fails: {type(error).__name__}: {error}"
        for name in names_in(cell["source"]) if cell["solution"] and cell["code"] else ():
            if callable(space.get(name)) and not isinstance(space[name], type):
                space[name] = _watched(space[name], changes.setdefault(name, []))
    return changes


def _watched(function, changed: list):
    def watched(*given, **named):
        inputs = [*enumerate(given), *named.items()]
        before, state = [_content(value) for _, value in inputs], random_state()
        result = function(*given, **named)
        if None not in changed and random_state() != state:
            changed.append(None)
        for (key, value), content in zip(inputs, before, strict=True):
            if key not in changed and _content(value) != content:
                changed.append(key)
        return result

    return watched


def _content(value: object) -> tuple:
    crossing = Crossing()
    return json.dumps(crossing.pack(value)), crossing.blobs
