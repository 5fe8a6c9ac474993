"""What makes a notebook pass and what makes it fail: the tolerance, tried from both sides."""

import subprocess
import sys

import nbformat
import pytest
from conftest import PROJECT

from mnist_nb.publish.comparison import forgive


@pytest.mark.parametrize(
    ("stored", "new", "tolerance"),
    [
        ("loss 0.28", "loss 0.28", {}),
        ("loss 0.28", "loss 0.29", {}),
        ("loss 0.28 acc 91.5", "loss 0.27 acc 91.6", {}),
        ("1e-3", "1.001e-3", {"rtol": 0.01}),
        ("2.5000", "2.5004", {"ulp": 5}),
        ("loss 0.2870", "loss 0.2879", {"atol": 0.001}),
        ("-1.25", "-1.2494", {"atol": 0.001}),
        ("  0.9\n 10.1", " 10.0\n 10.1", {"atol": 10}),
        ({"history": [{"epoch": 1, "loss": 0.5}]}, {"history": [{"epoch": 1, "loss": 0.5001}]},
         {"atol": 0.001}),
    ],
)  # fmt: skip
def test_numbers_within_the_tolerance_pass(stored, new, tolerance):
    assert forgive(stored, new, **tolerance) == stored


@pytest.mark.parametrize(
    ("stored", "new", "tolerance"),
    [
        ("loss 0.28", "loss 0.30", {}),
        ("loss 0.2870", "loss 0.2885", {"atol": 0.001}),
        ("loss 0.28", "cost 0.28", {}),
        ("loss 0.28", "loss 0.28 0.28", {}),
        ("5 epochs", "6 epochs", {"atol": 10}),
        ("0.5", "nan", {"atol": 10}),
        ("nan", "0.5", {"atol": 10}),
        ("0.5", "1", {"atol": 10}),
        ("v1.2", "v1.3", {}),
        ("True", "False", {"atol": 10}),
        ({"epoch": 1}, {"epoch": 2}, {"atol": 10}),
        ({"loss": 0.5}, {"loss": None}, {"atol": 10}),
        ([0.5], [0.5, 0.5], {"atol": 10}),
    ],
)  # fmt: skip
def test_anything_else_does_not(stored, new, tolerance):
    assert forgive(stored, new, **tolerance) != stored


def nbval(folder, *cells) -> str:
    """Run pytest on a notebook of these (source, stored output, metadata) cells; its report."""
    notebook = nbformat.v4.new_notebook()
    for number, (source, text, metadata) in enumerate(cells, start=1):
        outputs = [nbformat.v4.new_output("stream", text=text)] if text else []
        notebook.cells.append(
            nbformat.v4.new_code_cell(
                source, execution_count=number, outputs=outputs, metadata=metadata
            )
        )
    if not cells[-1][1]:
        notebook.cells[-1].execution_count = None
    nbformat.write(notebook, folder / "copy.ipynb")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "--color=no",
         "-p", "no:cacheprovider", "copy.ipynb"],
        cwd=folder, capture_output=True, text=True,
    ).stdout  # fmt: skip


def test_only_tagged_cells_are_forgiven_and_unexecuted_ones_never(tmp_path):
    approx = {"tags": ["nbval-approx"]}
    report = nbval(
        tmp_path,
        ("print('loss 0.29')", "loss 0.28\n", approx),
        ("print('loss 0.30')", "loss 0.28\n", approx),
        ("print('loss 0.2879')", "loss 0.2870\n", approx | {"nbval": {"atol": 0.001}}),
        ("print('loss 0.2881')", "loss 0.2870\n", approx | {"nbval": {"atol": 0.001}}),
        ("print('loss 0.29')", "loss 0.28\n", {}),
        ("print('a word')", "a worm\n", approx),
        ("1 + 1", "", {}),
    )
    failed = {line.split("::")[1].split()[1] for line in report.splitlines() if "FAILED" in line}
    assert failed == {"1", "3", "4", "5", "6"}, report
    assert "stored without being executed" in report


def test_the_plugin_is_there_for_whoever_runs_pytest_on_a_notebook():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "notebooks/00_walkthrough.ipynb"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "00_walkthrough.ipynb::Cell 0" in done.stdout
