"""The committed notebooks: executed, in normal form, nothing that nbval would let pass."""

import ast

import nbformat
import pytest
from conftest import NOTEBOOKS, WALKTHROUGH

from mnist_nb.errors import Problem
from mnist_nb.publish.normal_form import problems, rhythm
from mnist_nb.publish.refresh import refresh

SOURCE_CELLS = ["In [14]", "In [15]", "In [16]", "In [17]", "In [18]", "In [20]"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_committed_notebook_breaks_no_rule(path):
    text = path.read_text()
    assert problems(text) == []
    median, high, markdown = rhythm(text)
    assert median <= 4 and high <= 15 and 0.8 <= markdown <= 1.5


def test_the_walkthrough_mirrors_every_source_cell_in_order_and_says_so():
    cells = nbformat.read(WALKTHROUGH, as_version=4).cells
    mirrored = [c.metadata["mnist_nb"]["mirrors"] for c in cells if "mnist_nb" in c.metadata]
    assert mirrored == SOURCE_CELLS
    prose = "".join(c.source for c in cells if c.cell_type == "markdown")
    assert [prose.find(f"*Source cell* `{name}`") for name in SOURCE_CELLS] == sorted(
        prose.find(f"*Source cell* `{name}`") for name in SOURCE_CELLS
    )
    assert all(f"*Source cell* `{name}`" in prose for name in SOURCE_CELLS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_chance_has_a_seed_wherever_a_notebook_makes_a_generator(path):
    cells = nbformat.read(path, as_version=4).cells
    code = ast.parse("\n".join(c.source for c in cells if c.cell_type == "code"))
    seeded = {id(n.value) for n in ast.walk(code) if getattr(n, "attr", "") == "manual_seed"}
    for call in (n for n in ast.walk(code) if isinstance(n, ast.Call)):
        name = ast.unparse(call.func).split(".")[-1]
        if name in ("default_rng", "Generator", "Random"):
            assert call.args or id(call) in seeded, f"line {call.lineno}: {ast.unparse(call)}"


def cell_with(notebook, what):
    """The first code cell that has `what` among the keys of an output's data."""
    return next(
        c for c in notebook.cells for o in c.get("outputs", []) if what in o.get("data", {})
    )


def no_count(notebook):
    cell_with(notebook, "text/plain").execution_count = None


def ran_twice(notebook):
    cell = cell_with(notebook, "text/plain")
    cell.execution_count += 100
    for output in cell.outputs:
        if "execution_count" in output:
            output.execution_count = cell.execution_count


def outputs_gone(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def stderr(notebook):
    output = nbformat.v4.new_output("stream", name="stderr", text="a warning")
    cell_with(notebook, "text/plain").outputs.append(output)


def error(notebook):
    output = nbformat.v4.new_output("error", ename="E", evalue="e", traceback=[])
    cell_with(notebook, "text/plain").outputs.append(output)


def no_alt(notebook):
    output = cell_with(notebook, "image/png").outputs[0]
    output.metadata["image/png"]["alt"] = "a figure"


def injected(notebook):
    cell_with(notebook, "text/plain").metadata["tags"] = ["injected-parameters"]


def ignored(notebook):
    cell_with(notebook, "text/plain").source += "\n# NBVAL_IGNORE_OUTPUT"


def skipped(notebook):
    cell_with(notebook, "text/plain").metadata["tags"] = ["nbval-skip"]


def timing(notebook):
    cell_with(notebook, "text/plain").metadata["execution"] = {"iopub.execute_input": "2026"}


def widget(notebook):
    view = {"model_id": "0" * 32, "version_major": 2, "version_minor": 0}
    output = cell_with(notebook, "text/plain").outputs[0]
    output.data["application/vnd.jupyter.widget-view+json"] = view


def machine_path(notebook):
    cell_with(notebook, "text/plain").outputs[0].data["text/plain"] = "'/home/someone/data'"


def same_id(notebook):
    return nbformat.writes(notebook).replace(notebook.cells[1].id, notebook.cells[0].id, 1)


def wide(notebook):
    cell_with(notebook, "text/plain").source += "\n# " + "x" * 80


@pytest.mark.parametrize(
    "spoil",
    [no_count, ran_twice, outputs_gone, stderr, error, no_alt, injected, ignored, skipped,
     timing, widget, machine_path, same_id, wide],
)  # fmt: skip
def test_what_nbval_lets_pass_the_lint_does_not(spoil):
    notebook = nbformat.read(WALKTHROUGH, as_version=4)
    spoiled = spoil(notebook) or nbformat.writes(notebook)
    assert problems(nbformat.writes(nbformat.read(WALKTHROUGH, 4)) + "\n") == []
    assert problems(spoiled + "\n") != []


def tiny(path, source):
    cell = nbformat.v4.new_code_cell(source, id="only")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    return path


def test_refresh_is_byte_stable_and_replaces_only_on_success(tmp_path):
    path = tiny(tmp_path / "n.ipynb", "print('a')\nprint('b')")
    assert refresh(path) and not refresh(path)
    assert problems(path.read_text()) == []

    for source in ("1 / 0", "import os; os._exit(1)", "import sys; print('x', file=sys.stderr)"):
        before = tiny(path, source).read_bytes()
        with pytest.raises(Problem):
            refresh(path)
        assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
