"""Find code in a learner's notebook that reaches for the checks, for a remark beside the grade.

It looks at parsed code, not at words in comments or texts, so a word alone accuses nobody; of
comments it knows only the marks of hidden tests. No points depend on it. `canary` sees what
happened when the code ran.
"""

import ast

from mnist_nb.tools.classroom.cells import Cell

_MOST = 200_000  # characters of a cell that is read
_ATTRIBUTES = {
    "_getframe": "`sys._getframe`", "_current_frames": "`sys._current_frames`",
    "f_globals": "the variables of other code", "f_back": "the code that calls it",
    "f_locals": "the variables of other code", "currentframe": "`inspect.currentframe`",
    "_aborting": "the kernel's `_aborting`", "get_referrers": "`gc.get_referrers`",
    "get_objects": "`gc.get_objects`", "input_transformers_cleanup": "how cells are read",
    "input_transformers_post": "how cells are read", "input_transformer_manager":
    "how cells are read", "ast_transformers": "how cells are read",
}  # fmt: skip
_MARKS = ("### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS")


def reached_for(cells: list[Cell]) -> list[str]:
    """Return what the code of a learner's cells reaches for, in words."""
    found = []
    for cell in cells:
        if cell.kind != "code":
            continue
        if any(line.strip() in _MARKS for line in cell.source.splitlines()):
            found.append("has the marks of hidden tests in a cell of its own")
        found += [f"reaches for {what}" for what in _reached(cell.source)]
    return list(dict.fromkeys(found))


def _reached(source: str) -> list[str]:
    try:
        tree = ast.parse(source if len(source) <= _MOST else "")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in _ATTRIBUTES:
            found.append(_ATTRIBUTES[node.attr])
        if (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
                and node.attr == "__code__"):  # fmt: skip
            found.append("the code of a function")
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.startswith("mnist_nb.tools.classroom") for name in names):
            found.append("the grader's own modules")
    names = {(node.id, type(node.ctx)) for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if ("In", ast.Load) in names and ("In", ast.Store) not in names:
        found.append("the cells that have run")
    return found


def remark(found: list[str]) -> list[str]:
    """Return the remark on what was found, as a list of one, or an empty one."""
    if not found:
        return []
    more = f" and {len(found) - 4} more" * (len(found) > 4)
    return [f"the notebook {', '.join(found[:4])}{more}; the points come from checks that it "
            "cannot reach"]  # fmt: skip
