"""The verification verified: mistakes are caught, hangs end. `make mutants` tries all."""

import subprocess
import sys

import pytest
from conftest import PROJECT, settings_for
from mutants import TABLE, Mutant, catalogue, caught_by, copy_project, main, mutated

QUICK, OTHERS = catalogue()


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("copy"))


# one for each thing that catches mistakes: the lint, nbval, unit tests
THREE = (
    "architecture-count: {'strip': 'execution_count'}",
    "architecture-count: {'output': ['55050', '55060']}",
    "evaluation.py: y * classes + predicted → predicted * classes + y",
)
EACH = [
    pytest.param(mutant, marks=[] if str(mutant).endswith(THREE) else pytest.mark.whole)
    for mutant in QUICK
]


@pytest.mark.parametrize("mutant", EACH, ids=str)
def test_a_mistake_is_caught(mutant, copy):
    assert caught_by(mutant, copy)[0]


def test_every_mistake_of_the_catalogue_can_still_be_made():
    assert sum(str(mutant).endswith(THREE) for mutant in QUICK) == 3
    assert len(OTHERS) >= 100
    for mutant in OTHERS:
        text = (PROJECT / mutant.file).read_text(encoding="utf-8")
        assert mutated(mutant, text) != text


@pytest.mark.parametrize(
    "check",
    ["import no_such_linter", "import sys; sys.exit('1 = 2' not in open('a.py').read())"],
    ids=["the linter is missing", "the unchanged file fails"],
)
def test_a_check_that_fails_without_a_mistake_catches_none(check, tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("1 + 1")
    monkeypatch.setattr("mutants.detectors", lambda *_: [("lint", [sys.executable, "-c", check])])
    with pytest.raises(RuntimeError, match="lint fails without any mistake"):
        caught_by(Mutant("a.py", None, ("+", "-")), tmp_path)
    assert (tmp_path / "a.py").read_text() == "1 + 1"


def test_a_check_that_fails_only_with_the_mistake_catches_it(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("1 + 1")
    check = [sys.executable, "-c", "import sys; sys.exit('-' in open('a.py').read())"]
    never = [sys.executable, "-c", "pass"]
    monkeypatch.setattr("mutants.detectors", lambda *_: [("never", never), ("lint", check)])
    assert caught_by(Mutant("a.py", None, ("+", "-")), tmp_path)[0] == "lint"
    assert caught_by(Mutant("a.py", None, ("+", "*")), tmp_path) == ("", "")


def test_words_that_no_mistake_has_are_said_and_leave_the_table_as_it_is():
    before = TABLE.read_bytes()
    with pytest.raises(SystemExit, match="no line of the catalogue has '--help' in it"):
        main(["--help"])
    assert TABLE.read_bytes() == before


def test_a_mistake_that_changes_nothing_is_refused():
    with pytest.raises(ValueError, match="changes nothing"):
        mutated(Mutant("a.py", None, ("+", "+")), "1 + 1")


def suite(folder, *options, **files):
    """What the project's own pytest options make of tests in `folder`, two at a time."""
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", *settings_for(folder), "-n", "2"]
    command += ["--dist", "loadfile", *options, folder]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)


FOUR = "import os, pytest, time\n@pytest.mark.parametrize('n', range(4))\ndef test(n): pass\n"


def test_a_test_that_hangs_fails_and_the_others_go_on(tmp_path):
    hangs = FOUR.replace("pass", "time.sleep(60 * (n == 2))")
    done = suite(tmp_path, "-o", "timeout=1", a=FOUR, b=FOUR, c=hangs, d=FOUR)
    assert done.returncode == 1 and "1 failed, 15 passed" in done.stdout
    assert "Timeout (>1.0s) from pytest-timeout" in done.stdout


def test_a_test_that_takes_its_process_with_it_ends_the_run(tmp_path):
    dies = FOUR.replace("pass", "os._exit(1) if n == 2 else time.sleep(0.1)")
    done = suite(tmp_path, a=FOUR, b=FOUR, c=FOUR, d=dies, e=FOUR, f=FOUR)
    assert done.returncode == 1 and "1 failed" in done.stdout
    assert "test_d.py::test[2]" in done.stdout and "\ntimeout: 1200.0s" in done.stdout
