"""The house: who may import whom in mnist_nb, and how much there is to read."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from conftest import PROJECT

PACKAGE = PROJECT / "mnist_nb"
# The floors of the house: a module imports from its own room and from floors below, never above.
# A learning module lies in mnist_nb itself.
FLOORS = [
    ["mnist_nb"],
    ["mnist_nb.figures", "mnist_nb.live"],
    ["mnist_nb.tools"],
    ["mnist_nb.tools.runs"],
    ["mnist_nb.tools.verify"],
    ["mnist_nb.tools.classroom", "mnist_nb.tools.site"],
    ["the command"],
]
COMMAND = tuple(
    f"mnist_nb.tools.cli{part}" for part in ("", "_authors", "_completion", "_results", "_runs")
)
# What the tools may know of the learning modules: files, errors, the form of a record, what a
# check of an exercise raises and sees, and what makes a part of a page live. All else, such as
# which parameters there are and what they take, a notebook says of itself.
KNOWN_TO_TOOLS = {
    f"mnist_nb.{name}"
    for name in ("data", "errors", "exercises", "files", "live", "record", "sources")
} | {"mnist_nb"}
# What a class's notebooks would all read again is read once, in the process that forks them.
READ_BEFORE_FORKING = {
    "mnist_nb.tools.classroom.inside": {"mnist_nb.loading", "mnist_nb.figures.showing"}
}
# The one way up: `mnist_nb.results`, for those who run experiments, imports when it is called.
DOOR = ["mnist_nb imports mnist_nb.tools.runs.tables"]
LONGEST = 250  # lines of a module
LONGER = {
    "mnist_nb.tools.environment": "runs as one file before anything is installed",
}
# Ceilings of lines: of mnist_nb/*.py, which a learner reads in an evening, but for what chapter 09
# alone is about; of that; of the figures; of the Python of the live parts
EVENING, EXACT, DRAWN, LIVE = 1_030, 250, 970, 450
OF_CHAPTER_09 = ("mnist_nb.arithmetic", "mnist_nb.exact")


def modules(package: Path) -> dict[str, Path]:
    """Module name -> file, of a package and what is in it."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(package: Path) -> dict[str, set[str]]:
    """Module name -> the modules of the same package that it imports, wherever in its code."""
    known = modules(package)
    return {name: set(_imported(path, known)) - {name} for name, path in known.items()}


def _imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import, which this test does not read"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield from [name for name in (whole, node.module) if name in known][:1]


def room(name: str, known: dict[str, Path]) -> str:
    """The room of a module: the package that it is in."""
    if name in COMMAND:
        return "the command"
    return name if known[name].name == "__init__.py" else name.rpartition(".")[0]


def upward(package: Path) -> list[str]:
    """The imports that lead to a floor above, or to another room of the same floor."""
    known = modules(package)
    floor = {place: number for number, rooms in enumerate(FLOORS) for place in rooms}
    return [
        f"{name} imports {other}"
        for name, others in imports(package).items()
        for other in others
        if (here := room(name, known)) != (there := room(other, known))
        and floor[here] <= floor[there]
    ]


def circle(package: Path) -> list[str]:
    """The modules of a circle of imports, in order; none if there is no circle."""
    try:
        TopologicalSorter(imports(package)).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def lines(name: str) -> int:
    return len(modules(PACKAGE)[name].read_text(encoding="utf-8").splitlines())


def test_no_module_imports_from_a_floor_above_so_no_learning_module_imports_a_tool():
    assert upward(PACKAGE) == DOOR


def test_the_way_up_to_results_is_gone_only_when_someone_asks_for_them():
    code = "import mnist_nb, sys; print(*(m for m in sys.modules if m.startswith('mnist_nb.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_no_import_goes_in_a_circle():
    assert circle(PACKAGE) == []


def test_the_tools_know_files_errors_and_records_and_nothing_else_of_the_lesson():
    for name, others in imports(PACKAGE).items():
        if name.startswith("mnist_nb.tools"):
            lesson = {other for other in others if not other.startswith("mnist_nb.tools")}
            assert lesson <= KNOWN_TO_TOOLS | READ_BEFORE_FORKING.get(name, set()), name


@pytest.mark.parametrize("name", modules(PACKAGE))
def test_a_module_is_read_in_one_sitting(name):
    assert (lines(name) > LONGEST) == (name in LONGER), lines(name)


def test_the_learning_modules_are_read_in_an_evening():
    known = modules(PACKAGE)
    ceilings = {"mnist_nb": EVENING, "09": EXACT, "mnist_nb.figures": DRAWN, "mnist_nb.live": LIVE}
    for place, most in ceilings.items():
        there = [n for n in known if place == ("09" if n in OF_CHAPTER_09 else room(n, known))]
        assert sum(map(lines, there)) <= most, place


def test_one_place_says_where_the_project_lies():
    place = re.compile(r"(?<!\.)__file__\W.*\bparents\b")
    found = [n for n, path in modules(PACKAGE).items() if place.search(path.read_text("utf-8"))]
    assert found == ["mnist_nb.files", "mnist_nb.tools.environment"], "the second stands alone"


@pytest.fixture
def house(tmp_path):
    """A small house with the same floors, in order; change it by writing files."""
    package = tmp_path / "mnist_nb"
    for place in ("", "tools", "tools/runs", "tools/verify", "tools/classroom", "tools/site"):
        (package / place).mkdir()
        (package / place / "__init__.py").touch()
        (package / place / "one.py").write_text("import json\n")
    (package / "tools" / "cli.py").write_text("from mnist_nb.tools.runs import one\n")
    (package / "tools" / "runs" / "two.py").write_text("from mnist_nb.one import json\n")
    assert upward(package) == circle(package) == []
    return package


@pytest.mark.parametrize(
    ("file", "line", "other"),
    [
        ("one.py", "from mnist_nb.tools import one", "mnist_nb.tools.one"),
        ("one.py", "import mnist_nb.tools.runs.one", "mnist_nb.tools.runs.one"),
        ("tools/one.py", "def f():\n    from mnist_nb.tools.runs.one import x", "runs.one"),
        ("tools/runs/one.py", "if 1:\n    from mnist_nb.tools.verify import one", "verify.one"),
        ("tools/site/one.py", "from mnist_nb.tools.classroom import one", "classroom.one"),
        ("tools/verify/one.py", "from mnist_nb.tools import cli", "mnist_nb.tools.cli"),
    ],
)
def test_an_import_from_above_would_be_seen(house, file, line, other):
    (house / file).write_text(line)
    (found,) = upward(house)
    assert found.endswith(other)


def test_a_circle_would_be_seen_even_inside_a_function(house):
    (house / "tools" / "site" / "pages.py").write_text(
        "def f():\n    from mnist_nb.tools.site.slides import build"
    )
    (house / "tools" / "site" / "slides.py").write_text("from mnist_nb.tools.site import pages")
    assert set(circle(house)) == {"mnist_nb.tools.site.pages", "mnist_nb.tools.site.slides"}
