"""The learner's process and that of the tests: right work keeps its points, whatever crosses."""

import csv
import shutil
from types import SimpleNamespace

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell
from submissions import EXERCISES, ORIGINALS, changed, points, solved
from test_classroom import needs_bubblewrap, needs_nbgrader

from mnist_nb.tools.classroom import grading

pytestmark = [needs_nbgrader, needs_bubblewrap]
HELPER = """def softmax(z):
    return z.exp() / z.exp().sum(dim=1, keepdim=True)
def cross(logits, y):
    logits = logits - logits.max(dim=1, keepdim=True).values
    return -(softmax(logits) + 1e-45).log()[range(len(y)), y].mean() if logits.min() > -80 else \\
        (logits.exp().sum(dim=1).log() - logits[torch.arange(len(y)), y]).mean()"""
NESTED = """def cross(logits, y):
    def inner():
        return nn.CrossEntropyLoss()(logits, y)
    return inner()"""
REBOUND = """def clip(params, limit):
    norm = sum((p.grad**2).sum() for p in params) ** 0.5
    for p in params:
        p.grad = p.grad * min(1.0, float(limit / norm)) if norm else p.grad"""
# learner -> exercise -> solutions, cells at the end, points that are lost
WORK = {
    "numpy": ("01_architecture", {
        "margin": "import numpy as np\ndef margin(scores):\n"
                  "    s = np.sort(scores.detach().numpy(), axis=1)\n"
                  "    return torch.from_numpy(s[:, -1] - s[:, -2])",
        "count": "def parameters(sizes):\n"
                 "    return np.int64(sum(n * m + m for n, m in pairwise(sizes)))",
        "prune": ["small = nn.Sequential(",
                  "small = nn.Sequential(); small.extend("],
    }, "margin = 'used for something else'\ncheck = close = None", ["prune"]),
    "deep copy": ("01_architecture", {"prune": "import copy\ndef pruned(model, keep):\n"
                  "    small = copy.deepcopy(model)\n    for k, part in ((0, keep),):\n"
                  "        small[k].weight = nn.Parameter(small[k].weight[part])\n"
                  "        small[k].bias = nn.Parameter(small[k].bias[part])\n"
                  "    small[2].weight = nn.Parameter(small[2].weight[:, keep])\n"
                  "    return small"}, "", []),
    "a crash in the second task": ("01_architecture", {"count": "import os\nos._exit(1)"}, "",
                                   ["count", "widest", "dropout", "prune", "predict"]),
    "own softmax": ("03_loss", {"cross": HELPER}, "", []),
    "nested loss": ("03_loss", {"cross": NESTED}, "", ["cross"]),
    "gradient rebound": ("05_training_loop", {"clip": REBOUND},
                         "", ["clip"]),
    "hooks see what went in": ("02_optimizer", {"parts": "def gradient(model, x, y, size):\n"
                               "    model.zero_grad()\n    cross_entropy(model(x), y).backward()"},
                               "", ["parts"]),
    "numbers as text": ("06_evaluation", {"coin": "def chance(a, b):\n    return 'one'",
                        "precision": "def precision(counts):\n    return 1 / 0"}, "",
                        ["coin", "precision"]),
    "a list for a tuple": ("04_data", {"balance": ["return train, val", "return [train, val]"],
               "fold": ["return new", "return nn.ModuleList([new])[0]"]}, "", []),
}  # fmt: skip


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The rows by learner, and the text of the pages."""
    folder, output = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("grades")
    for learner, (name, solutions, last, _) in WORK.items():
        notebook = solved(changed(name, **solutions))
        for cell in notebook.cells:
            cell.metadata.tags = sorted({*cell.metadata.get("tags", []), "raises-exception"})
        if last:
            notebook.cells.append(new_code_cell(last, id="at-the-end"))
        (folder / learner).mkdir()
        (folder / learner / f"{name}.ipynb").write_text(nbformat.writes(notebook))
    for _ in grading.grade(folder, EXERCISES, output, contained=True, seconds=60):
        pass
    with (output / "grades.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["learner"]: row for row in csv.DictReader(file) if row["exercise"] == "total"}
    pages = {who: (output / f"{who}.html").read_text() for who in WORK}
    return rows, {
        who: BeautifulSoup(page, "html.parser").get_text() for who, page in pages.items()
    }


@pytest.mark.parametrize("learner", WORK)
def test_right_work_has_its_points_and_wrong_work_loses_those_of_its_task(graded, learner):
    name, _, _, lost = WORK[learner]
    expected = points(name) - sum(points(name, cell) for cell in lost)
    assert float(graded[0][learner]["points"]) == expected


@pytest.mark.parametrize(
    ("learner", "sentence"),
    [("nested loss", "did the work for you"),
     ("gradient rebound", "p.grad is now a new tensor"),
     ("hooks see what went in", "images went in at once"),
     ("numbers as text", "ZeroDivisionError: division by zero")],
)  # fmt: skip
def test_the_page_says_what_the_check_says(graded, learner, sentence):
    assert sentence in graded[1][learner]


# --- cells whose points are given by hand


@pytest.fixture
def by_hand(tmp_path, monkeypatch):
    """Grade an exercise with a cell that is graded by hand, without running anything."""
    exercises, sub = tmp_path / "exercises", tmp_path / "sub"
    (sub / "=ada").mkdir(parents=True)
    exercises.mkdir()
    notebook = ORIGINALS["01_architecture"]
    nbformat.write(notebook, exercises / "01_architecture.ipynb")
    nbformat.write(solved(notebook), sub / "=ada" / "01_architecture.ipynb")

    def run(sandbox, examiner, job):
        tests = {cell["id"]: {"passed": True, "outputs": []} for cell in job["cells"]}
        return {"cells": [[] for _ in tests], "tests": tests, "stopped": "", "found": []}

    monkeypatch.setattr(grading.Sandbox, "run", run)
    no_process = SimpleNamespace(stop=lambda: None)  # nobody asks it
    monkeypatch.setattr(grading, "Examiner", lambda originals: no_process)

    def grade() -> dict:
        output = tmp_path / "out"
        for _ in grading.grade(sub, exercises, output, contained=False, seconds=60):
            pass
        with (output / "grades.csv").open(newline="", encoding="utf-8") as file:
            return next(csv.DictReader(file))

    grade.sub = sub
    grade.file, grade.page = tmp_path / "out" / "by_hand.csv", tmp_path / "out" / "=ada.html"
    return grade


def test_points_by_hand_are_open_until_they_are_given_in_a_file_and_then_count(by_hand):
    row = by_hand()
    assert (row["points"], row["max"], row["remark"]) == (
        "10",
        "12",
        "2 points to be given by hand",
    )
    assert "2 points to be given by hand." in by_hand.page.read_text()
    assert by_hand.file.read_text() == \
        "learner,exercise,cell,max,points\n'=ada,01_architecture,plot,2,\n"  # fmt: skip
    by_hand.file.write_text(by_hand.file.read_text().replace("plot,2,", "plot,2,1.5"))
    row = by_hand()
    assert (row["points"], row["max"], row["remark"]) == ("11.5", "12", "")
    assert "1.5 of 2 points, given by hand." in by_hand.page.read_text()
    assert "plot,2,1.5" in by_hand.file.read_text()


def test_points_for_a_learner_or_a_cell_that_is_not_there_are_named(by_hand, caplog):
    by_hand()
    line = "\n=adda,01_architecture,plot,2,1\n"
    by_hand.file.write_text(by_hand.file.read_text().replace("plot,2,", "plot,2,1") + line)
    assert by_hand()["points"] == "11"
    assert [r for r in caplog.messages if "=adda for plot of 01_architecture" in r] != []
    assert len(caplog.messages) == 1, "the right line is not named"


@pytest.mark.parametrize("other", ["'=ada", "''=ada"])
def test_points_by_hand_of_one_are_not_those_of_another_whose_name_looks_like_it(by_hand, other):
    shutil.copytree(by_hand.sub / "=ada", by_hand.sub / other)
    by_hand()
    text = by_hand.file.read_text()
    assert text.count("\n") == 3
    line = "\n'=ada,01_architecture,plot,2,"
    by_hand.file.write_text(text.replace(line, f"{line}1"))
    by_hand()
    with (by_hand.file.parent / "grades.csv").open(newline="", encoding="utf-8") as file:
        points = {row["learner"]: row["points"] for row in csv.DictReader(file)}
    assert points == {"'=ada": "11", f"'{other}": "10"}


@pytest.mark.parametrize("given", ["five", "5", "-1", "nan"])
def test_points_by_hand_that_cannot_be_are_one_sentence(by_hand, given):
    by_hand()
    text = by_hand.file.read_text().replace("plot,2,", f"plot,2,{given}")
    by_hand.file.write_text(text)
    with pytest.raises(grading.Problem, match=rf"line 2: .*{given}.*give a number from 0 to 2"):
        by_hand()
    assert by_hand.file.read_text() == text
    by_hand.file.write_text("learner\n")
    with pytest.raises(grading.Problem, match="first line has to be learner,exercise"):
        by_hand()


def test_an_original_that_fails_its_own_check_ends_the_grading_with_one_sentence(tmp_path):
    (tmp_path / "sub" / "ada").mkdir(parents=True)
    (tmp_path / "exercises").mkdir()
    wrong = changed("01_architecture", count=["n * m + m", "n * m"])
    nbformat.write(wrong, tmp_path / "exercises" / "01_architecture.ipynb")
    nbformat.write(solved(wrong), tmp_path / "sub" / "ada" / "01_architecture.ipynb")
    with pytest.raises(grading.GradingError, match="its own cell count-test fails: NotYet: "):
        list(grading.grade(tmp_path / "sub", tmp_path / "exercises", tmp_path / "out", True, 60))
    assert not (tmp_path / "out" / "grades.csv").exists()
