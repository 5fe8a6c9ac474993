"""Bring notebooks into normal form, the format in which they are committed, and check it.

`refresh` writes the normal form; `make lint` reports the rules that a notebook breaks.
"""

import json
import re
import statistics

import nbformat

from mnist_nb.tools.verify.prose import unexplained_numbers

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_VARYING = ("execution", "papermill", "collapsed", "scrolled", "jupyter", "ExecuteTime")
# a widget needs a running kernel, so only its text is stored
WIDGET = "application/vnd.jupyter.widget-view+json"
LIVE = '<div class="mnist-nb-live"'  # in the HTML of a part that computes in the browser
HIDE = "hide-input"  # folds a cell's code in JupyterLab, pages and slides
# the tags that a cell may have; raises-exception: Run All goes on below the cell
_TAGS = {"parameters", "nbval-approx", HIDE, "raises-exception"}
# The largest tolerances that "nbval" in a cell's metadata may state, and the defaults. Units: that
# of the output (atol), fraction of the number (rtol), last printed place (ulp), levels of 255
# (picture). Each committed picture is at least 25 levels away from a blank or mirrored one.
CEILINGS = {"atol": 0.03, "rtol": 0.01, "ulp": 5, "picture": 5}
DEFAULTS = {"atol": 0, "rtol": 0, "ulp": 1, "picture": 0.5}
_SWITCHED_OFF = re.compile(r"#\s*(NBVAL_\w+|PYTEST_VALIDATE_IGNORE_OUTPUT)")
# parts of an exercise that learners do not see: hidden tests, and nbgrader's markers
_UNSEEN = re.compile(r"### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS|^ *### .*$", re.S | re.M)
_MACHINE_PATH = re.compile(r"(?<![\w.])(?:/(?:home|root|Users|tmp|work)/|[A-Z]:\\\\)\S*")


def normalise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Remove what differs between two executions from `notebook`, in place; return it."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell.setdefault("id", f"cell-{number}")
        for key in _VARYING:
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        if HIDE in cell.metadata.get("tags", []):
            cell.metadata["jupyter"] = {"source_hidden": True}  # what JupyterLab looks at
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    return notebook


def serialised(notebook: nbformat.NotebookNode) -> str:
    """Return the text of the notebook's file in normal form."""
    return nbformat.writes(normalise(notebook)) + "\n"


def broken_rules(text: str) -> list[str]:
    """Return the rules that a notebook with this text breaks, one sentence each."""
    ids = [cell.get("id") for cell in json.loads(text)["cells"]]
    if None in ids or len(set(ids)) != len(ids):
        # nbformat would repair the ids
        wrong = [f"cell {n} ({i})" for n, i in enumerate(ids) if i is None or ids.count(i) > 1]
        return [f"cells have the same id or none: {', '.join(wrong)}; give each its own id"]
    notebook = nbformat.reads(text, as_version=4)
    found = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        found.append(f"not executed once from top to bottom (execution counts {counts}); run "
                     "make refresh")  # fmt: skip
    for number, cell in enumerate(notebook.cells):
        found += [f"cell {number} ({cell.get('id')}): {p}" for p in _broken_rules_of_cell(cell)]
    found += [f"cell {cell_id}: {p}" for cell_id, p in unexplained_numbers(notebook)]
    if not found and serialised(notebook) != text:
        found.append("not in normal form: metadata or layout that `make refresh` would change")
    return found


def _broken_rules_of_cell(cell: nbformat.NotebookNode) -> list[str]:
    found = []
    tags = set(cell.metadata.get("tags", []))
    if tags - _TAGS:
        found.append(f"has the unknown tag {', '.join(sorted(tags - _TAGS))}; known are "
                     f"{', '.join(sorted(_TAGS))}")  # fmt: skip
    long = [line for line in cell.source.splitlines() if len(line) > 79]
    if long and cell.cell_type == "code":
        found.append(f"has a line of more than 79 characters: {long[0][:40]}…")
    if cell.metadata.get("nbgrader", {}).get("grade_id", cell.id) != cell.id:
        named = cell.metadata.nbgrader["grade_id"]
        found.append(f"has the grade_id {named!r}; set it to the cell's id {cell.id!r}, as "
                     "grading needs both to be equal")  # fmt: skip
    found += _broken_rules_of_tolerances(cell.metadata.get("nbval", {}), tags)
    if _SWITCHED_OFF.search(cell.source):
        found.append("has a comment that switches off its comparison; remove it")
    for output in cell.get("outputs", []):
        if output.output_type == "error" or output.get("name") == "stderr":
            found.append("has an error or something on stderr among its outputs")
        png = output.get("metadata", {}).get("image/png", {})
        if "image/png" in output.get("data", {}) and len(png.get("alt", "")) < 20:
            found.append("has a figure without an alt text of at least 20 characters")
        if output.get("execution_count", cell.execution_count) != cell.execution_count:
            found.append("has an output with a different execution count; run make refresh")
        if path := _MACHINE_PATH.search(str(output)):
            found.append(f"shows a path that only one machine has: {path[0][:40]}")
    return found


def _broken_rules_of_tolerances(stated: dict, tags: set[str]) -> list[str]:
    found = []
    for key, value in stated.items():
        if key == "reason":
            continue
        if key not in CEILINGS:
            known = ", ".join([*CEILINGS, "reason"])
            found.append(f"has the unknown tolerance {key!r}; known are {known}")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            found.append(f"has the tolerance {key} = {value!r}, which is not a number")
        elif not 0 <= value <= CEILINGS[key]:
            found.append(
                f"has the tolerance {key} = {value}, outside of 0 to {CEILINGS[key]}; show "
                "results that differ less, such as fewer decimals"
            )
        elif key != "picture" and "nbval-approx" not in tags:
            found.append(f"has the tolerance {key} without the tag nbval-approx that applies it")
        elif value > DEFAULTS[key] and len(str(stated.get("reason", ""))) < 20:
            found.append(
                f"has the tolerance {key} = {value} without a reason of at least 20 characters; "
                'say in the metadata what differs between machines: {"nbval": {…, "reason": "…"}}'
            )
    return found


def code_lengths(text: str) -> tuple[float, float, float]:
    """Return lines per code cell (median, 90th percentile), and Markdown cells per code cell."""
    cells = nbformat.reads(text, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    lines = sorted(
        sum(bool(line.strip()) for line in _UNSEEN.sub("", cell.source).splitlines())
        for cell in code
    )
    markdown = len(cells) - len(code)
    return statistics.median(lines), lines[int(0.9 * (len(lines) - 1))], markdown / len(code)
