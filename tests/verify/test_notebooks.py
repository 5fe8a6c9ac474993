"""The committed notebooks: executed, in normal form, nothing that nbval would let pass."""

import ast
import re
import subprocess
import sys

import nbformat
import pytest
from click.testing import CliRunner
from conftest import NOTEBOOKS, WALKTHROUGH, settings_for
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from mnist_nb.errors import Problem
from mnist_nb.tools.cli import main
from mnist_nb.tools.verify.normal_form import broken_rules, code_lengths, normalise
from mnist_nb.tools.verify.prose import unexplained_numbers
from mnist_nb.tools.verify.refresh import refresh

SOURCE_CELLS = ["In [14]", "In [15]", "In [16]", "In [17]", "In [18]", "In [20]"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_committed_notebook_breaks_no_rule(path):
    text = path.read_text()
    assert broken_rules(text) == []
    median, high, markdown = code_lengths(text)
    assert median <= 4 and high <= 15 and 0.8 <= markdown <= 1.5


def test_the_walkthrough_mirrors_every_source_cell_in_order_and_says_so():
    cells = nbformat.read(WALKTHROUGH, as_version=4).cells
    mirrored = [c.metadata.get("mnist_nb", {}).get("mirrors") for c in cells]
    assert [name for name in mirrored if name] == SOURCE_CELLS
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


def tolerance(**stated):
    def spoil(notebook):
        (cell,) = [c for c in notebook.cells if c.id == "record-code"]
        cell.metadata["nbval"] |= stated

    return spoil


def no_reason(notebook):
    (cell,) = [c for c in notebook.cells if c.id == "record-code"]
    del cell.metadata["nbval"]["reason"]


def untagged(notebook):
    (cell,) = [c for c in notebook.cells if c.id == "record-code"]
    del cell.metadata["tags"]


def constant_that_is_gone(notebook):
    cell = next(c for c in notebook.cells if "60,000" in c.source)
    cell.source = cell.source.replace("60,000", "many")


@pytest.mark.parametrize(
    "spoil",
    [no_count, ran_twice, outputs_gone, stderr, error, no_alt, injected, ignored, skipped,
     timing, widget, machine_path, same_id, wide, tolerance(atol=1e9), tolerance(atol=0.031),
     tolerance(rtol=0.1), tolerance(ulp=6), tolerance(picture=5.1), tolerance(picture=255),
     tolerance(atol=-1), tolerance(atol="0.001"), tolerance(atol=True), tolerance(tol=0.001),
     no_reason, untagged, constant_that_is_gone],
    ids=lambda spoil: spoil.__name__,
)  # fmt: skip
def test_what_nbval_lets_pass_the_lint_does_not(spoil):
    notebook = nbformat.read(WALKTHROUGH, as_version=4)
    spoiled = spoil(notebook) or nbformat.writes(notebook)
    assert broken_rules(nbformat.writes(nbformat.read(WALKTHROUGH, 4)) + "\n") == []
    assert broken_rules(spoiled + "\n") != []


def occurrences(number):
    """Where the walkthrough's text says `number`: (cell id, place in its source)."""
    cells = nbformat.read(WALKTHROUGH, as_version=4).cells
    return [
        (cell.id, found.start())
        for cell in cells
        if cell.cell_type == "markdown"
        for found in re.finditer(re.escape(number), cell.source)
    ]


@pytest.mark.parametrize("tag", ["script", "style"])
def test_a_number_of_the_text_is_not_explained_by_a_script_that_nobody_reads(tag):
    def problems(html):
        output = new_output("display_data", {"text/html": html})
        cells = [new_markdown_cell("There are 4,321."), new_code_cell("f()", outputs=[output])]
        return [*unexplained_numbers(new_notebook(cells=cells))]

    assert not problems("<p>4321</p>") and problems(f"<{tag}>4321</{tag}><p>4320</p>")


@pytest.mark.parametrize(
    ("said", "wrong"),
    [("55,050", "55,051"), ("1,719", "1,917"), ("2.30", "3.20"), ("60,000", "6,000")],
)
def test_a_wrong_number_in_the_walkthroughs_text_is_refused_wherever_it_stands(said, wrong):
    places = occurrences(said)
    assert places
    for cell_id, start in places:
        notebook = nbformat.read(WALKTHROUGH, as_version=4)
        (cell,) = [c for c in notebook.cells if c.id == cell_id]
        cell.source = cell.source[:start] + wrong + cell.source[start + len(said) :]
        (problem, *_) = broken_rules(nbformat.writes(notebook) + "\n")
        assert cell_id in problem and wrong in problem


def unexplained_in(text, shown="print(1)", printed="1", **metadata):
    """What is wrong with the numbers of a `text` beside a cell that prints something."""
    output = nbformat.v4.new_output("stream", text=printed)
    cells = [
        nbformat.v4.new_markdown_cell(text, metadata=metadata),
        nbformat.v4.new_code_cell(shown, outputs=[output]),
    ]
    return list(unexplained_numbers(nbformat.v4.new_notebook(cells=cells)))


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("The loss is 0.29.", "0.2866"),
        ("A loss of -1.5 and 2e-3", "[-1.5, 0.002]"),
        ("It has 55,050 parameters.", "55050"),
        ("It has `55050` parameters.", "55,050"),
        ("It is right in 91.3 % and 91% of cases, and 91 of 100.", "0.9132"),
        ("Three of 12 layers, see [chapter 1](0100_999.ipynb), since 2019", ""),
        ("About 20 minutes, exercise 15, `In [18]`, SHA-256, float32, 20th, 2.14.1", ""),
        ("<!-- 99 --> <img width='640'> https://example.org/731", ""),
    ],
)
def test_a_number_of_the_text_that_an_output_shows_is_explained(text, printed):
    assert not unexplained_in(text, printed=printed)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("The loss is 0.28.", "0.2866"),
        ("The loss is 0.29.", "0.3"),
        ("It has 55,051 parameters.", "55050"),
        ("It is right in 91.4 % of cases.", "0.9132"),
        ("It is right in 91 cases.", "0.9132"),
        ("There are 13 of them, 13 again.", "12"),
        ("A probability of 0.05", "0.0"),
        ("$x = 17$ and `y = 17`", "16"),
    ],
)
def test_a_number_of_the_text_that_nothing_shows_is_named(text, printed):
    ((_, problem),) = unexplained_in(text, printed=printed)
    assert "constants" in problem


def test_code_and_constants_explain_a_number_and_a_constant_has_to_be_said():
    assert not unexplained_in("The rate is 0.05.", shown="lr = 0.05")
    marked = {"constants": ["60,000"]}
    assert not unexplained_in("Of 60,000 images", mnist_nb=marked)
    assert len(unexplained_in("Of 61,000 images", mnist_nb=marked)) == 2


def tiny(path, source):
    cell = nbformat.v4.new_code_cell(source, id="only")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    return path


def test_refresh_is_byte_stable_and_replaces_only_on_success(tmp_path):
    path = tiny(tmp_path / "n.ipynb", "print('a')\nprint('b')")
    assert refresh(path) and not refresh(path)
    assert broken_rules(path.read_text()) == []

    for source in ("1 / 0", "import os; os._exit(1)", "import sys; print('x', file=sys.stderr)"):
        before = tiny(path, source).read_bytes()
        with pytest.raises(Problem):
            refresh(path)
        assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_jupyterlab_folds_the_code_that_the_author_tagged_and_no_other():
    cells = [nbformat.v4.new_code_cell("1") for _ in range(2)]
    cells[0].metadata["tags"] = ["hide-input"]
    cells[1].metadata["jupyter"] = {"source_hidden": True}  # folded by hand, by whoever saved it
    folded, open_ = normalise(nbformat.v4.new_notebook(cells=cells)).cells
    assert folded.metadata["jupyter"]["source_hidden"] and "jupyter" not in open_.metadata


@pytest.mark.parametrize("content", ['{"cells": [', "{}", None], ids=["cut off", "empty", "none"])
def test_what_is_no_notebook_is_one_sentence_for_the_lint_and_for_pytest(tmp_path, content):
    path = tmp_path / "odd.ipynb"
    if content is not None:
        path.write_text(content)
    if content == "{}":
        pytest_says = [sys.executable, "-m", "pytest", *settings_for(tmp_path), path]
        said = subprocess.run(pytest_says, capture_output=True, text=True).stdout
        assert f"{path} is not a notebook that can be read" in said
        assert "Traceback" not in said and "nbformat/" not in said
    done = CliRunner().invoke(main, ["lint", str(path)])
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 2 and done.stderr.count("\n") == 1 and str(path) in done.stderr
