"""The one form in which a notebook is committed, and what breaks it."""

import json
import re
import statistics

import nbformat

from mnist_nb.tools.verify.prose import unexplained

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_VARYING = ("execution", "papermill", "collapsed", "scrolled", "jupyter", "ExecuteTime")
# a widget lives in the page and the kernel; what is stored of it is its text
WIDGET = "application/vnd.jupyter.widget-view+json"
_TAGS = {"parameters", "nbval-approx"}  # what a cell may say about itself
# What "nbval" in a cell's metadata may allow at most, and what is allowed without a word: units of
# the output, a fraction of the stored number, units in the last place, and levels of 255. Blank
# or mirrored, each committed picture is at least 25 levels from itself.
CEILINGS = {"atol": 0.03, "rtol": 0.01, "ulp": 5, "picture": 5}
DEFAULTS = {"atol": 0, "rtol": 0, "ulp": 1, "picture": 0.5}
_SWITCHED_OFF = re.compile(r"#\s*(NBVAL_\w+|PYTEST_VALIDATE_IGNORE_OUTPUT)")
# what learners do not see of an exercise: hidden tests, and the marks of nbgrader
_UNSEEN = re.compile(r"### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS|^ *### .*$", re.S | re.M)
_MACHINE_PATH = re.compile(r"(?<![\w.])(?:/(?:home|root|Users|tmp|work)/|[A-Z]:\\\\)\S*")


def normalise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Strip from `notebook`, in place, what differs between two executions of it."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell.setdefault("id", f"cell-{number}")
        for key in _VARYING:
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    return notebook


def serialised(notebook: nbformat.NotebookNode) -> str:
    """The text of the notebook's file in normal form."""
    return nbformat.writes(normalise(notebook)) + "\n"


def broken_rules(text: str) -> list[str]:
    """Return which rules the notebook with this text breaks, a sentence each."""
    ids = [cell.get("id") for cell in json.loads(text)["cells"]]
    if None in ids or len(set(ids)) != len(ids):
        return ["two cells have the same id, or one has none"]  # reading it would mend them
    notebook = nbformat.reads(text, as_version=4)
    found = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        found.append(f"not executed once from top to bottom: execution counts {counts}")
    for number, cell in enumerate(notebook.cells):
        found += [f"cell {number} ({cell.get('id')}): {p}" for p in _broken_rules_of_cell(cell)]
    found += [f"cell {cell_id}: {p}" for cell_id, p in unexplained(notebook)]
    if not found and serialised(notebook) != text:
        found.append("not in normal form: metadata or layout that `make refresh` would change")
    return found


def _broken_rules_of_cell(cell: nbformat.NotebookNode) -> list[str]:
    found = []
    tags = set(cell.metadata.get("tags", []))
    if tags - _TAGS:
        found.append(f"has the tag {', '.join(sorted(tags - _TAGS))}, which is not one of ours")
    long = [line for line in cell.source.splitlines() if len(line) > 79]
    if long and cell.cell_type == "code":
        found.append(f"has a line of more than 79 characters: {long[0][:40]}…")
    if cell.metadata.get("nbgrader", {}).get("grade_id", cell.id) != cell.id:
        found.append("has another name for nbgrader than its id, by which grading finds it")
    found += _broken_rules_of_tolerances(cell.metadata.get("nbval", {}), tags)
    if _SWITCHED_OFF.search(cell.source):
        found.append("switches its own comparison off")
    for output in cell.get("outputs", []):
        if output.output_type == "error" or output.get("name") == "stderr":
            found.append("has an error or something on stderr among its outputs")
        png = output.get("metadata", {}).get("image/png", {})
        if "image/png" in output.get("data", {}) and len(png.get("alt", "")) < 20:
            found.append("has a figure without alt text that says what it shows")
        if output.get("execution_count", cell.execution_count) != cell.execution_count:
            found.append("has an output with another execution count than its own")
        if path := _MACHINE_PATH.search(str(output)):
            found.append(f"shows a path of one machine: {path[0][:40]}")
    return found


def _broken_rules_of_tolerances(stated: dict, tags: set[str]) -> list[str]:
    found = []
    for key, value in stated.items():
        if key == "reason":
            continue
        if key not in CEILINGS:
            known = ", ".join([*CEILINGS, "reason"])
            found.append(f"has the tolerance {key!r}, which has no meaning; these have: {known}")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            found.append(f"has the tolerance {key} = {value!r}, which is no number")
        elif not 0 <= value <= CEILINGS[key]:
            found.append(
                f"has the tolerance {key} = {value}, above the ceiling of {CEILINGS[key]}: show "
                "what differs less, such as fewer decimals, or the data that a figure draws"
            )
        elif key != "picture" and "nbval-approx" not in tags:
            found.append(f"has the tolerance {key}, which needs the tag nbval-approx to be used")
        elif value > DEFAULTS[key] and len(str(stated.get("reason", ""))) < 20:
            found.append(
                f"has the tolerance {key} = {value} without the reason; say what differs between "
                'machines: {"nbval": {…, "reason": "…"}} in its metadata'
            )
    return found


def code_lengths(text: str) -> tuple[float, float, float]:
    """Lines per code cell (median, 90th percentile), and Markdown cells per code cell."""
    cells = nbformat.reads(text, as_version=4).cells
    lines = sorted(
        sum(bool(line.strip()) for line in _UNSEEN.sub("", cell.source).splitlines())
        for cell in cells
        if cell.cell_type == "code"
    )
    markdown = sum(cell.cell_type == "markdown" for cell in cells)
    return statistics.median(lines), lines[int(0.9 * (len(lines) - 1))], markdown / len(lines)
