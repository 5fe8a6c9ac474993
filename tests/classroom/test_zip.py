"""The learners' zip: dates, the targets of make in it, the way back to an original."""

import io
import os
import re
import subprocess
import sys
import zipfile
from datetime import date
from pathlib import Path

import pytest
import yaml
from aside import needs_nbgrader
from conftest import PROJECT

from mnist_nb.tools import original
from mnist_nb.tools.classroom.student import StudentError, release_date, student_zip
from mnist_nb.tools.original import OriginalError, restore

pytestmark = needs_nbgrader
PROJECT_ONLY = ("test", "grade", "student", "site", "kit", "bench", "mutants", "refresh", "lock")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}


@pytest.fixture(scope="module")
def packed() -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(student_zip(PROJECT)))


@pytest.fixture
def unpacked(packed, tmp_path) -> Path:
    packed.extractall(tmp_path)
    return tmp_path / "mnist-nb"


def make(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """Run make with this Python, which installs nothing."""
    python = folder.parent / "environment" / "bin" / "python"
    if folder != PROJECT and not python.exists():
        python.parent.mkdir(parents=True)
        python.write_text(
            '#!/bin/sh\ncase "$*" in *environment.py*) exit 0;; esac\n'
            f'exec "{sys.executable}" "$@"\n'
        )
        python.chmod(0o755)
    command = ["make", "-C", folder, f"VENV={python.parents[1]}", *words]
    return subprocess.run(command, capture_output=True, text=True, env=CLEAN)


def listed(folder: Path) -> list[str]:
    return re.findall(r"^  make ([a-z-]+) ", make(folder, "help").stdout, re.MULTILINE)


# --- dates


def test_every_file_in_the_zip_has_the_date_of_the_release(packed):
    released = yaml.safe_load((PROJECT / "CITATION.cff").read_text())["date-released"]
    assert date(2026, 1, 1) <= released <= date.today()
    assert release_date(PROJECT)[:3] == (released.year, released.month, released.day)
    inside = zipfile.ZipFile(io.BytesIO(packed.read("mnist-nb/originals.zip")))
    entries = [*packed.infolist(), *inside.infolist()]
    assert len(entries) > 100
    assert {entry.date_time for entry in entries} == {release_date(PROJECT)}


@pytest.mark.parametrize("text", ["", "date-released: soon", "- a list", "date-released: 2026"])
def test_a_release_without_a_date_is_one_sentence(tmp_path, text):
    (tmp_path / "CITATION.cff").write_text(text)
    with pytest.raises(StudentError, match="has no date-released"):
        release_date(tmp_path)


# --- make


def test_make_help_in_the_zip_lists_only_what_works_there(unpacked):
    targets = listed(unpacked)
    assert set(targets) == {"help", "setup", "data", "lab", "run", "original", "nbval", "clean"}
    assert set(PROJECT_ONLY) < set(listed(PROJECT)) > set(targets)
    for target in targets:  # it names only files that are there
        done = make(unpacked, "-n", target, "NOTEBOOK=01_architecture")
        assert done.returncode == 0, done.stderr
        files = re.findall(r"(?<![\w/.])(?:mnist_nb|studies|tests|jupyter)/[\w/.-]+", done.stdout)
        assert not [file for file in files if not (unpacked / file).exists()], target


@pytest.mark.parametrize("target", PROJECT_ONLY)
def test_what_only_authors_can_do_is_no_target_of_the_zip(unpacked, target):
    done = make(unpacked, target)
    assert done.returncode and f"No rule to make target '{target}'" in done.stderr


def test_the_pages_that_learners_get_name_only_targets_of_the_zip(unpacked):
    targets = set(listed(unpacked))
    text = (PROJECT / "docs" / "learners.md").read_text()
    named = set(re.findall(r"(?:`|^ +)make ([a-z-]+)", text, re.MULTILINE))
    assert {"setup", "lab", "original"} <= named <= targets


# --- the original of a notebook


ANSWER = b"my answers"


def test_a_notebook_gets_its_original_back_and_the_learners_file_is_kept(unpacked):
    notebook = unpacked / "notebooks" / "exercises" / "01_architecture.ipynb"
    before = notebook.read_bytes()
    for number, name in enumerate(("01_architecture-mine", "01_architecture-mine-2")):
        notebook.write_bytes(ANSWER * (number + 1))
        done = make(unpacked, "original", "NOTEBOOK=exercises/01_architecture")
        assert done.returncode == 0, done.stderr
        assert notebook.read_bytes() == before and f"{name}.ipynb" in done.stdout
        assert notebook.with_name(f"{name}.ipynb").read_bytes() == ANSWER * (number + 1)
    notebook.unlink()
    assert restore("exercises/01_architecture", unpacked) == (notebook, None)
    assert notebook.read_bytes() == before


@pytest.mark.parametrize(
    "name", ["00_walkthrough", "00_walkthrough.ipynb", "notebooks/00_walkthrough", "{}"]
)
def test_a_notebook_is_found_by_its_name_or_its_path(unpacked, name):
    path = unpacked / "notebooks" / "00_walkthrough.ipynb"
    original = path.read_bytes()
    path.write_bytes(ANSWER)
    assert restore(name.format(path), unpacked)[0] == path and path.read_bytes() == original


def test_a_notebook_that_is_the_original_already_is_left_alone(unpacked):
    path = unpacked / "notebooks" / "01_architecture.ipynb"
    before = sorted(path.parent.iterdir()), path.stat().st_mtime_ns
    assert restore("01_architecture", unpacked) == (path, path)
    assert (sorted(path.parent.iterdir()), path.stat().st_mtime_ns) == before
    assert "is the original" in make(unpacked, "original", "NOTEBOOK=01_architecture").stdout


@pytest.mark.parametrize(
    ("name", "says"),
    [("exercises/01_architektur", "exercises/01_architecture"), ("../pyproject", "00_walkthrough"),
     ("exercise/01", "00_walkthrough, 01_architecture, 02_optimizer"),
     ("", "make original NOTEBOOK=exercises/01_architecture")],
)  # fmt: skip
def test_a_name_that_no_notebook_has_is_one_sentence_with_the_names_that_there_are(
    unpacked, name, says
):
    done = make(unpacked, "original", f"NOTEBOOK={name}")
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode and len(lines) == 1 and says in lines[0], done.stderr


def test_a_learners_file_that_cannot_be_kept_is_not_replaced(unpacked, monkeypatch):
    path = unpacked / "notebooks" / "01_architecture.ipynb"
    path.write_bytes(ANSWER)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(original, "write_whole", full)
    with pytest.raises(OriginalError, match="No space left"):
        restore("01_architecture", unpacked)
    assert path.read_bytes() == ANSWER


def test_in_a_clone_the_original_is_the_committed_one_and_elsewhere_there_is_none(tmp_path):
    def git(*words):
        subprocess.run(["git", "-C", tmp_path, *words], check=True, capture_output=True)

    path = tmp_path / "notebooks" / "one.ipynb"
    path.parent.mkdir()
    path.write_bytes(b"committed")
    with pytest.raises(OriginalError, match=r"neither originals\.zip nor"):
        restore("one", tmp_path)
    git("init", "-q")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one")
    path.write_bytes(ANSWER)
    assert restore("one", tmp_path) == (path, path.with_name("one-mine.ipynb"))
    assert path.read_bytes() == b"committed"
