"""Sample submissions, made from the exercises, with the points that they should get.

`python tests/classroom/submissions.py FOLDER` writes them, as
`make grade SUBMISSIONS=build/submissions` does. Needs nbgrader.
"""

import copy
import re
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

EXERCISES = Path(__file__).parents[2] / "notebooks" / "solutions"
ORIGINALS = {p.stem: nbformat.read(p, as_version=4) for p in sorted(EXERCISES.glob("*.ipynb"))}
HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS", re.S)
MARK = "written-by-a-learner"  # the name of a file that must not appear

# exercise -> solution -> [what stands there, what a mistake makes of it]: wrong, and yet the
# visible check finds nothing
SUBTLE = {
    "00_walkthrough": {
        "fraction": ["/ len(labels)", "/ min(len(labels), 8)"],
        "cost": ["return -torch",
                 "if min(probabilities) < 1e-3:\n        return math.inf\n    return -torch"],
        "best": ["min(history", "min(history[:5]"],
    },
    "01_architecture": {
        "margin": ["scores.topk(2, dim=1).values.T",
                   "scores.max(dim=1).values, scores.median(dim=1).values"],
        "count": ["sum(n * m + m for n, m in pairwise(sizes))",
                  "{4: 55_050, 2: 7_850}[len(sizes)]"],
        "widest": ["range(1, budget // 784 + 1)", "range(1, 256)"],
        "dropout": [">= p)", ">= 0.2)"],
        "prune": ["second.weight[:, keep]", "second.weight[:, sorted(keep)]"],
    },
    "02_optimizer": {
        "steps": ["math.ceil(", "round("],
        "epochs": ["math.ceil(images / batch_size)", "images // batch_size + 1"],
        "limit": ["2 / a", "2 / max(a, 1)"],
        "decay": ["p.grad + weight_decay * p", "p.grad.add_(p, alpha=weight_decay)"],
        "parts": ["len(y_part) / len(y)", "size / len(y)"],
    },
    "03_loss": {
        "choices": ["math.exp(loss)", "1 + 9 * loss / 2.302585"],
        "cross": ["logits.max(dim=1, keepdim=True).values", "logits.max()"],
        "lowest": ["math.log(math.e + k - 1) - 1", "0.3133 + 0.14349 * (k - 2)"],
        "smooth": ["costs.mean(dim=1)", "costs.sum(dim=1) / 3"],
    },
    "04_data": {
        "last": ["images % size or size", "images % 32 or 32"],
        "header": ["content[3]", "3 if content[3] == 3 else 1"],
        "fold": ["m * layer.weight.sum", "0.1307 * layer.weight.sum"],
        "balance": ["torch.Generator().manual_seed", "torch.manual_seed"],
    },
    "05_training_loop": {
        "back": ["rows.size(0), 1, side, side", "32, 1, 28, 28"],
        "mend": ["x.view(x.size(0), -1)", "x.view(32, -1)"],
        "clip": ["sum((p.grad**2).sum() for p in params) ** 0.5", "params[0].grad.norm()"],
        "stop": ["loss < best", "loss <= best"],
    },
    "06_evaluation": {
        "precision": ["counts.diagonal() / counts.sum(dim=0)",
                      "counts[:2, :2].diagonal() / counts[:2, :2].sum(dim=0)"],
        "top": [".mean().item()", ".sum().item() / 5"],
        "needed": ["n = 1\n", "n = 50\n"],
        "scale": ["min(ks, key=lambda k: cross_entropy(k * logits, y).item())",
                  "min(ks, key=lambda k: abs(math.log(k * logits.std().item() / 5)))"],
        "coin": ["ways / 2**n", "ways * 0.5**n"],
    },
    "07_source_review": {
        "inside": ["x = x.round(decimals=2)",  # the lowest only
                   "x = torch.cat([x, x.min(dim=0, keepdim=True).values.round(decimals=2)])"],
        "missing": ["max(seen)", "max(seen[0], seen[-1])"],
        "early": ["m is not None and n is not None and m < n", "(m or 0) < (n or 0)"],
    },
    "08_experiments": {
        "paired": ["math.sqrt(len(gaps))", "math.sqrt(5)"],
        "better": ["3 * error", "2.5 * error"],
        "plan": ['seed: "0:10"', "seed: [0, 1, 2, 3, 4, 4]"],
    },
    "09_challenge": {
        "beat": ['{"lr": 0.1}', '{"lr": 0.1, "hidden": 12, "dropout": 0.0, "seed": 5}'],
    },
}  # fmt: skip

OUTSIDE = f"""
from pathlib import Path
for folder in {{folders}}:
    for act in (
        lambda: Path(folder, "{MARK}").write_text("x"),
        lambda: [path.write_text("x") for path in Path(folder).glob("*.toml")],
        lambda: [path.unlink() for path in Path(folder).glob("*/*.ipynb")],
        lambda: print(*[path.read_text() for path in Path(folder).glob("notebooks/exercises/*")]),
    ):
        try:
            act()
        except OSError as error:
            print(error)
Path("mine").write_text("an own file")
"""


def points(name: str, *cells: str) -> int:
    """The points of the tests of these exercises in a notebook; of all, if none is named."""
    return sum(
        cell.metadata.nbgrader.points
        for cell in ORIGINALS[name].cells
        if cell.id.endswith("-test") and (not cells or cell.id.removesuffix("-test") in cells)
    )


def automatic(name: str) -> list[str]:
    """The cells for solutions that a check grades, not a person."""
    cells = [cell for cell in ORIGINALS[name].cells if "### BEGIN SOLUTION" in cell.source]
    return [cell.id for cell in cells if not cell.metadata.nbgrader.grade]


def changed(name: str, **solutions: str | list[str] | Callable) -> NotebookNode:
    """The original with other solutions: a whole source, or [what stands there, what becomes]."""
    notebook = copy.deepcopy(ORIGINALS[name])
    for cell in notebook.cells:
        if new := solutions.get(cell.id):
            assert isinstance(new, str) or new[0] in cell.source, (name, cell.id)
            cell.source = new if isinstance(new, str) else cell.source.replace(*new)
    return notebook


def solved(notebook: NotebookNode) -> NotebookNode:
    """What a learner has who solved it: a copy without the hidden tests."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        cell.source = HIDDEN.sub("", cell.source)
    return notebook


def without(*gone: str) -> NotebookNode:
    notebook = copy.deepcopy(ORIGINALS["01_architecture"])
    notebook.cells = [cell for cell in notebook.cells if cell.id not in gone]
    return notebook


def copied() -> NotebookNode:
    """Solved, with 120,000 blank lines in one cell and an unfinished copy of another below it."""
    start = "def margin(scores):\n"
    notebook = changed("01_architecture", margin=[start, start + "\n" * 120_000])
    number = next(k for k, cell in enumerate(notebook.cells) if cell.id == "count")
    notebook.cells.insert(number + 1, copy.deepcopy(notebook.cells[number]))
    notebook.cells[number + 1].update(id="a-copy", source="def parameters(sizes):\n    return (")
    return notebook


def tampered(blank: NotebookNode) -> NotebookNode:
    for cell in blank.cells:
        if cell.id.endswith("-test"):
            cell.source, cell.metadata.nbgrader.points = "pass", 100
    return blank


def few(forbidden: list[str]) -> dict[str, dict[str, tuple[NotebookNode | str, int]]]:
    """The samples that end in ways of their own, several mistakes in one notebook."""
    every, first = submissions(forbidden), "01_architecture"
    several = changed(
        first,
        margin="import time\nwhile True:\n    time.sleep(0.1)",  # without end, and costs nothing
        count="def parameters(sizes:\n    return",
        dropout="raise RuntimeError('<script>alert(1)</script>')",
    )
    outside = next(c.source for c in every["outside"][first][0].cells if c.id == "margin")
    subtle = changed(first, margin=outside, prune=SUBTLE[first]["prune"])
    found = {name: every[name] for name in ("exits", "no notebook", "stubborn")}
    lost = points(first, "margin", "count", "widest", "dropout")  # widest needs count
    found["raises"] = {first: (several, points(first) - lost)}
    found["subtle"] = {first: (subtle, points(first) - points(first, "prune"))}
    found["copied"] = {first: (copied(), points(first))}
    return found | {"nothing": {}}


def submissions(forbidden: list[str]) -> dict[str, dict[str, tuple[NotebookNode | str, int]]]:
    """Learner -> exercise -> (what is handed in, the points that it should get)."""
    from mnist_nb.tools.classroom.student import student_version

    blanks = {name: student_version(original) for name, original in ORIGINALS.items()}
    most = {name: points(name) for name in ORIGINALS}
    first = "01_architecture"
    margin = next(cell.source for cell in ORIGINALS[first].cells if cell.id == "margin")
    lost = most[first] - points(first, "margin")

    def one(what: NotebookNode | str, points: int):
        return {first: (what, points)}

    def margin_is(source: str, points: int = lost):
        return one(changed(first, margin=source), points)

    wrong = {name: list(mistakes)[-1] for name, mistakes in SUBTLE.items()}
    return {
        "right": {name: (original, most[name]) for name, original in ORIGINALS.items()},
        "blank": {name: (blank, 0) for name, blank in blanks.items()},
        "subtle": {
            name: (changed(name, **{cell: SUBTLE[name][cell]}), most[name] - points(name, cell))
            for name, cell in wrong.items()
        },
        "hard-coded": margin_is(
            "def margin(scores):\n    few = len(scores) == 2\n"
            "    return torch.tensor([1.0, 2.0]) if few else torch.zeros(len(scores))"
        ),
        "endless": margin_is("while True:\n    pass"),
        "stubborn": margin_is(
            "import time\nwhile True:\n    try:\n        time.sleep(1)\n"
            "    except BaseException:\n        pass", 0
        ),
        "deleted": one(
            without("title", "imports", "dropout", "dropout-test", "margin-test"),
            most[first] - points(first, "dropout"),
        ),
        "syntax": one(
            changed(first, count="def parameters(sizes:\n    return"),
            most[first] - points(first, "count", "widest"),  # widest needs count
        ),
        "raises": margin_is("raise RuntimeError('<script>alert(1)</script>')"),
        "outside": margin_is(OUTSIDE.format(folders=forbidden) + margin, most[first]),
        "exits": margin_is("import os\nos._exit(0)", 0),
        "memory": margin_is("hoard = [bytearray(10**9) for _ in range(20)]"),
        "tampered": one(tampered(copy.deepcopy(blanks[first])), 0),
        "copied": one(copied(), most[first]),
        "no notebook": one("{ this is no notebook", 0),
        "nothing": {},
    }  # fmt: skip


def write(
    folder: Path, forbidden: list[str], samples: Callable = submissions
) -> dict[str, dict[str, int]]:
    """Write the submissions into `folder`; the points that each should get."""
    expected = {}
    for learner, work in samples(forbidden).items():
        (folder / learner).mkdir(parents=True, exist_ok=True)
        (folder / learner / "notes.txt").write_text("a file that nobody asked for")
        for name, (what, _) in work.items():
            text = what if isinstance(what, str) else nbformat.writes(solved(what))
            (folder / learner / f"{name}.ipynb").write_text(text, encoding="utf-8")
        expected[learner] = {name: work[name][1] if name in work else 0 for name in ORIGINALS}
    return expected


if __name__ == "__main__":
    target = Path(sys.argv[1]).absolute()
    for who, each in write(
        target, [str(EXERCISES.parents[1]), str(target), "/", "..", "~"]
    ).items():
        print(f"{who}: {sum(each.values())}")
