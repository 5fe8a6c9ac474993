"""Tell what the code of a notebook computes: comments, blank lines and layout do not count.

`identity` calls it, to see whether a stored record is still one of the code that there is now.
"""

import ast
import hashlib
import importlib
import json
import re
import sys
import sysconfig
import threading
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import resolve_name
from pathlib import Path

from mnist_nb.tools.runs.languages import is_python

# cell magics that run the rest of the cell as Python
_IN_PLACE = re.compile(r"\s*(%%(?:time|timeit|capture|prun)\b.*)\n")
_WRITTEN = re.compile(r"\s*%%(?:writefile|file)\s+(?:-a\s+)?(\S+)")  # by the notebook itself
_SCRIPT = re.compile(r"[\w./-]+\.py\b")  # as in %run helper.py, or open("helper.py")
_INSTALLED = {"site-packages", "dist-packages"}


def code_sha256(notebook) -> str:
    """Return a hash of what the code cells compute.

    A cell tagged `parameters` that only gives defaults is left out: a run's parameters have them.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not is_python(notebook):
        return _hash([cell.source for cell in cells])
    counted = [cell for cell in cells if not _gives_defaults(cell)]
    return _hash([text for text in (bare(cell.source) for cell in counted) if text])


def modules_sha256(notebook, folders: Iterable[Path]) -> dict[str, str]:
    """Return name -> hash of the modules and scripts that `notebook` uses and nobody installed.

    They are looked for in `folders` and where Python looks, and so are those that they use. The
    modules of mnist_nb, and files that the notebook writes, are left out.
    """
    if not is_python(notebook):
        return {}
    importlib.invalidate_caches()
    folders = [str(folder) for folder in folders]
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    written = {Path(found[1]).stem for found in map(_WRITTEN.match, sources) if found}
    found: dict[str, str] = {}
    waiting = [(source, "") for source in sources]
    while waiting:
        for name, path, package in _used(*waiting.pop(), folders):
            if name in found or {name.partition(".")[0], path.stem} & (written | {"mnist_nb"}):
                continue
            try:
                text = path.read_bytes().decode(errors="surrogateescape")
            except OSError:
                continue
            found[name] = _hash([bare(text)])
            if path.suffix == ".py":
                waiting.append((text, package))
    return dict(sorted(found.items()))


_ONE_AT_A_TIME = threading.Lock()  # Python 3.11 cannot build syntax trees in two threads


@cache
def bare(source: str) -> str:
    """Return a text that is the same for Python code that differs in comments or layout only.

    It describes the syntax tree. What is not Python is returned as it is.
    """
    magic, tree = _parsed(source)
    try:
        return source if tree is None else magic + "".join(map(_text, tree.body))
    except (ValueError, RecursionError):  # endless digits, endless nesting
        return source


@cache
def _parsed(source: str) -> tuple[str, ast.Module | None]:
    """Return the cell magic and the syntax tree of a cell; None for what is not Python."""
    found = _IN_PLACE.match(source)
    magic, body = (found[1].strip(), source[found.end() :]) if found else ("", source)
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd escapes in strings
        try:
            return magic, ast.parse(body)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass
        from IPython.core.inputtransformer2 import TransformerManager  # slow to import

        try:
            return magic, ast.parse(TransformerManager().transform_cell(body))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return "", None


def _text(node) -> str:
    """Return a part of a syntax tree as text, which no version of Python writes differently."""
    if isinstance(node, list):
        return f"[{','.join(map(_text, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
    said = (f"{name}={_text(value)}" for name, value in fields if name not in ("ctx", "kind"))
    return f"{type(node).__name__}({','.join(said)})"


def _gives_defaults(cell) -> bool:
    """Return whether `cell` has the tag `parameters`, and only literals for plain names."""
    magic, tree = _parsed(cell.source)
    if "parameters" not in (cell.metadata.get("tags") or []) or tree is None or magic:
        return False
    for node in tree.body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        try:
            ast.literal_eval(node.value)
        except (ValueError, AttributeError, TypeError, RecursionError):
            return False
        if isinstance(node, ast.AugAssign) or [type(target) for target in targets] != [ast.Name]:
            return False
    return True


def _used(source: str, package: str, folders: list[str]) -> Iterator[tuple[str, Path, str]]:
    """Yield name, file and package of the modules and scripts that `source` names."""
    for script in dict.fromkeys(_SCRIPT.findall(bare(source))):
        for path in (Path(folder, script) for folder in folders):
            if path.is_file():
                yield script, path, ""
                break
    tree = _parsed(source)[1]
    for name in dict.fromkeys(_imported(tree, package) if tree else ()):
        yield from _files_of(name, folders)


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield the names of modules that code in `package` imports, wherever in the code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            try:
                whole = resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:  # above its package
                continue
            yield whole
            yield from (f"{whole}.{alias.name}" for alias in node.names)


def _files_of(name: str, folders: list[str]) -> Iterator[tuple[str, Path, str]]:
    """Yield name, file and package of the module `name` and of the packages that it is in."""
    parts, where = name.split("."), [*folders, *sys.path]
    for number in range(1, len(parts) + 1):
        whole = ".".join(parts[:number])
        try:
            spec = PathFinder.find_spec(whole, where)
        except (ImportError, ValueError):
            return
        if spec is None or (spec.has_location and _is_installed(Path(spec.origin))):
            return
        where = list(spec.submodule_search_locations or ())
        if spec.has_location:
            yield whole, Path(spec.origin), whole if where else whole.rpartition(".")[0]


def _is_installed(path: Path) -> bool:
    """Return whether `path` belongs to Python itself or to an installed package."""
    library = sysconfig.get_path("stdlib")
    return bool(_INSTALLED & set(path.parts)) or path.is_relative_to(library)


def _hash(texts: list[str]) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()
