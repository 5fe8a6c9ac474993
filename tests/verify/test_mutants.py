"""The verification verified: mistakes are caught, hangs end. `make mutants` tries all mistakes."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import mutants
import pytest
from conftest import settings_for
from mutants import Mistake, catalogue, command, control, fault, main, with_mistake

ALL = catalogue()
# one for each thing that catches mistakes: the lint, nbval, unit tests
THREE = [
    m for m in ALL if m.name.startswith(("a cell is", "the solution overflows", "an interval"))
]
assert len(THREE) == 3
FIFTH = [pytest.param(m, marks=pytest.mark.whole) for m in ALL[::5] if m not in THREE]


@pytest.mark.parametrize("mistake", [*THREE, *FIFTH], ids=str)
def test_a_mistake_is_caught_by_the_check_that_passes_without_it(mistake):
    control(command(mistake))
    assert fault(command(mistake), mistake)


@pytest.mark.parametrize("mistake", ALL, ids=str)
def test_every_mistake_of_the_catalogue_can_still_be_made(mistake):
    changed = with_mistake(mistake, mutants.PROJECT)
    assert changed != (mutants.PROJECT / mistake.file).read_text(encoding="utf-8")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Make a folder with one file, 1 + 1, the project."""
    (tmp_path / "a.py").write_text("1 + 1")
    monkeypatch.setattr(mutants, "PROJECT", tmp_path)


WRONG = Mistake("a.py", "a wrong sign", "ruff", "+", "-")


def test_a_mistake_whose_text_is_gone_is_named_before_any_check_runs(project, monkeypatch):
    monkeypatch.setattr(mutants, "catalogue", lambda: [WRONG, WRONG._replace(old="2 - 2")])
    monkeypatch.setattr(mutants, "fault", None)  # would end in a different error
    with pytest.raises(ValueError, match=r"a\.py: a wrong sign: '2 - 2' is gone"):
        main([])


def python(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", f"import sys, time; text = open('a.py').read(); {code}"


def test_a_check_that_fails_with_the_mistake_catches_it_and_one_that_passes_does_not(project):
    assert fault(python("sys.exit('-' in text)"), WRONG)
    assert not fault(python("sys.exit('*' in text)"), WRONG)


@pytest.mark.parametrize("check", ["import no_such_linter", "sys.exit('1 = 2' not in text)"])
def test_a_check_that_fails_without_a_mistake_catches_none(project, check):
    with pytest.raises(SystemExit, match="fails without any mistake"):
        control(python(check))


def test_a_check_that_hangs_ends(project, monkeypatch):
    monkeypatch.setattr(mutants, "SECONDS", 1)
    assert fault(python("time.sleep(60 * ('-' in text))"), WRONG) == "not done after 1 seconds"


def test_words_that_no_mistake_has_are_said():
    with pytest.raises(SystemExit, match="No line of the catalogue has '--help' in it"):
        main(["--help"])


def test_the_table_in_docs_names_only_mistakes_of_the_catalogue():
    (written,) = re.findall(mutants.MARKS, mutants.PAGE.read_text(encoding="utf-8"))
    known = Counter(str(Path(mistake.file).parent) for mistake in ALL)
    rows = re.findall(r"^\| `(.+)` \|.* (\d+) \|$", written, re.MULTILINE)
    assert rows and all(int(number) <= known[where] for where, number in rows)
    assert set(re.findall(r"^- (.+)", written, re.MULTILINE)) <= set(map(str, ALL))


def suite(folder, *options, **files):
    """What the project's own pytest options make of tests in `folder`, two at a time."""
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", *settings_for(folder), "-n", "2"]
    command += ["--dist", "loadfile", *options, folder]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


FOUR = "import os, pytest, time\n@pytest.mark.parametrize('n', range(4))\ndef test(n): pass\n"


def test_a_test_that_hangs_fails_and_the_others_go_on(tmp_path):
    hangs = FOUR.replace("pass", "time.sleep(600 * (n == 2))")
    done = suite(tmp_path, "-o", "timeout=5", a=FOUR, b=FOUR, c=hangs, d=FOUR)
    assert done.returncode == 1 and "1 failed, 15 passed" in done.stdout
    assert "Timeout (>5.0s) from pytest-timeout" in done.stdout


def test_a_test_that_takes_its_process_with_it_ends_the_run(tmp_path):
    dies = FOUR.replace("pass", "os._exit(1) if n == 2 else time.sleep(0.1)")
    done = suite(tmp_path, a=FOUR, b=FOUR, c=FOUR, d=dies, e=FOUR, f=FOUR)
    assert done.returncode == 1 and "1 failed" in done.stdout
    assert "test_d.py::test[2]" in done.stdout and "\ntimeout: 1200.0s" in done.stdout
