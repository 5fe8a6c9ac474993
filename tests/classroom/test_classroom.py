"""Exercises, their version for learners, and grades."""

import contextlib
import csv
import io
import os
import re
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import nbformat
import psutil
import pytest
import submissions
import torch
import yaml
from aside import ASIDE, needs_nbgrader
from conftest import PROJECT
from submissions import MARK, ORIGINALS, SUBTLE

from mnist_nb.exercises import NotYet, close
from mnist_nb.tools.classroom import containment, sandbox
from mnist_nb.tools.classroom.cells import name_of, read_cells
from mnist_nb.tools.classroom.repair import repaired


def why_not_contained() -> str:
    try:
        containment.require_containment()
    except containment.ContainmentError as reason:
        return str(reason)
    return ""


needs_bubblewrap = pytest.mark.skipif(bool(why_not_contained()), reason=why_not_contained())
HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS\n(.*?)### END HIDDEN TESTS", re.S)
PICTURE = re.compile(r"[A-Za-z0-9+/]{400,}")  # base64 in a notebook's file
SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", re.S)
each_exercise = pytest.mark.parametrize("name", ORIGINALS)


def sources(notebook) -> dict[str, str]:
    return {cell.id: cell.source for cell in notebook.cells if cell.cell_type == "code"}


def run(source: str, space: dict) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(source, "<cell>", "exec"), space)


# --- the exercises


@each_exercise
def test_an_exercise_has_a_solution_a_visible_and_a_hidden_test_and_points(name):
    cells = sources(ORIGINALS[name])
    solved = [cell for cell in submissions.automatic(name) if not cell.startswith("predict")]
    fewest = 1 if name == "09_challenge" else 2
    assert fewest <= len(solved) <= 6 and solved == list(SUBTLE[name])
    for cell in submissions.automatic(name):
        test = cells[f"{cell}-test"]
        assert re.search(r"check\w*\(", HIDDEN.sub("", test))
        assert submissions.points(name, cell) in (1, 2, 3)
        assert HIDDEN.search(test) or cell not in solved


def test_a_check_that_fails_says_one_sentence_and_no_traceback():
    cells, space = sources(ORIGINALS["01_architecture"]), {"margin": lambda scores: None}
    for cell in ("imports", "helpers", "easy"):
        run(cells[cell], space)
    with pytest.raises(NotYet) as caught:
        run(cells["margin-test"], space)
    assert caught.value._render_traceback_() == [
        "✗ Not yet: margin should give a tensor, but its type is None: is a return missing?"
    ]


@pytest.mark.parametrize(
    ("given", "is_close"),
    [([1.0, 2.0], True), ((1, 2.000001), True), ([1.0, 2.1], False), ([[1.0, 2.0]], False),
     (1.0, False), (None, False), ([[1], [1, 2]], False), pytest.param(10**400, False, id="huge"),
     (torch.tensor([1.0, 2.0]).to_sparse(), False)],
)  # fmt: skip
def test_an_answer_is_close_if_it_has_the_shape_and_the_numbers_and_anything_else_is_not(
    given, is_close
):
    assert close(given, torch.tensor([1.0, 2.0])) is is_close


# --- what learners get


@pytest.fixture(scope="module")
def student(tmp_path_factory) -> Path:
    """What `mnist-nb student` makes."""
    folder = tmp_path_factory.mktemp("student")
    mnist_nb("student", "-o", folder)
    return folder


def mnist_nb(*words, **options) -> subprocess.CompletedProcess:
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ASIDE)]))
    compiled = {"PYTHONDONTWRITEBYTECODE": ""}  # as with most people
    return subprocess.run(
        [sys.executable, "-m", "mnist_nb.tools.cli", *map(str, words)], text=True, check=True,
        capture_output=True, env=os.environ | compiled | {"PYTHONPATH": path}, **options,
    )  # fmt: skip


def zipped(student: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(student / "mnist-nb-student.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@needs_nbgrader
def test_no_solution_and_no_hidden_test_is_anywhere_in_the_zip(student):
    contents = zipped(student)
    with zipfile.ZipFile(io.BytesIO(contents.pop("mnist-nb/originals.zip"))) as archive:
        contents |= {f"originals.zip/{name}": archive.read(name) for name in archive.namelist()}
    # pictures are most of it, and no line of code; the originals are there twice
    texts = {PICTURE.sub("", content.decode(errors="ignore")) for content in contents.values()}
    everything = "\n".join(texts)
    chapters = [PICTURE.sub("", p.read_text()) for p in (PROJECT / "notebooks").glob("*.ipynb")]
    package = [p.read_text() for p in (PROJECT / "mnist_nb").rglob("*.py")]
    for name, original in ORIGINALS.items():
        code = sources(original)
        secret = [part for source in code.values() for pattern in (SOLUTION, HIDDEN)
                  for part in pattern.findall(source)]  # fmt: skip
        shown = [HIDDEN.sub("", SOLUTION.sub("", cell.source)) for cell in original.cells]
        known = "\n".join([*shown, *chapters, *package])
        lines = {line.strip() for part in secret for line in part.splitlines()}
        lines = {line for line in lines if len(line) > 8 and line not in known}
        assert len(lines) > (3 if name == "09_challenge" else 12), name
        for line in lines:
            quoted = line.replace('"', '\\"')  # as it would stand in a notebook's file
            assert line not in everything and quoted not in everything, (name, line)
    know_the_marks = re.compile(r"mnist-nb/mnist_nb/tools/(classroom|site|verify)/")
    for mark in ("BEGIN SOLUTION", "BEGIN HIDDEN", "END HIDDEN"):
        marked = [name for name, content in contents.items() if mark.encode() in content]
        assert not [name for name in marked if not know_the_marks.match(name)]


@needs_nbgrader
def test_the_zip_has_what_a_learner_needs_and_always_the_same_bytes(student, tmp_path):
    names = {name.removeprefix("mnist-nb/") for name in zipped(student)}
    needed = ["README.md", "Makefile", "environment.yml", "pyproject.toml", "LICENSE",
              "mnist_nb/data.py", "mnist_nb/exercises.py", "mnist_nb/tools/environment.py",
              "notebooks/00_walkthrough.ipynb",
              *[f"notebooks/exercises/{name}.ipynb" for name in ORIGINALS]]  # fmt: skip
    assert names >= set(needed)
    assert not [name for name in names if "pycache" in name or name.startswith(("tests", "build"))]
    mnist_nb("student", "-o", tmp_path)
    archives = [folder / "mnist-nb-student.zip" for folder in (student, tmp_path)]
    assert archives[0].read_bytes() == archives[1].read_bytes()


@needs_nbgrader
def test_the_learners_package_works_from_the_unpacked_zip(student, tmp_path):
    with zipfile.ZipFile(student / "mnist-nb-student.zip") as archive:
        archive.extractall(tmp_path)
    home = tmp_path / "mnist-nb"
    lines = "import mnist_nb.exercises as e; print(e.__file__); e.check(e.close(1, 1.0), '')"
    done = subprocess.run([sys.executable, "-c", lines], cwd=home, capture_output=True, text=True,
                          check=True, env=os.environ | {"PYTHONPATH": str(home)})  # fmt: skip
    assert done.stdout.startswith(str(home))


def test_without_nbgrader_the_command_says_how_to_get_it(tmp_path):
    (tmp_path / "nbgrader.py").write_text("raise ImportError")
    here = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{PROJECT}"}
    done = subprocess.run([sys.executable, "-m", "mnist_nb.tools.cli", "student", "-o", tmp_path],
                          env=here, capture_output=True, text=True)  # fmt: skip
    assert done.returncode and "make student" in done.stderr and "Traceback" not in done.stderr


def test_nbgrader_is_not_in_the_learners_environment_nor_in_their_jupyterlab():
    text = (PROJECT / "environment.yml").read_text()
    assert yaml.safe_load(text) and "nbgrader" not in text
    extensions = Path(sys.prefix, "share", "jupyter", "labextensions")
    assert not [path for path in extensions.glob("*nbgrader*")]


# --- grades


SAMPLES = {"few": (submissions.few, 20), "all": (submissions.submissions, 60)}


@pytest.fixture(scope="module", params=["few", pytest.param("all", marks=pytest.mark.whole)])
def graded(request, tmp_path_factory):
    """Points expected, grades, pages, what was printed: samples graded in one go."""
    if reason := why_not_contained():
        pytest.skip(reason)
    samples, seconds = SAMPLES[request.param]
    folder, output = tmp_path_factory.mktemp("sub"), tmp_path_factory.mktemp("grades")
    forbidden = [PROJECT, folder, output, Path.home(), "/", "/usr", "/var/tmp", sys.prefix, ".."]
    expected = submissions.write(folder, [str(path) for path in forbidden], samples)
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    before |= {path: path.read_bytes() for path in PROJECT.glob("*.*") if path.is_file()}
    arguments = ["-o", output, "--seconds", seconds]
    if request.param == "few" and ASIDE.is_dir():  # as most people call it
        words = [f"VENV={sys.prefix}", f"SUBMISSIONS={folder}"]
        done = subprocess.run(
            ["make", "grade", *words, f"ARGS={' '.join(map(str, arguments))}"],
            cwd=PROJECT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    else:
        done = mnist_nb("grade", folder, *arguments)
    assert {path: path.read_bytes() for path in before} == before, "something was changed"
    written = [p for place in forbidden for p in (Path(place, MARK), Path(place, "mine"))]
    assert not [path for path in written if path.exists()]
    with (output / "grades.csv").open(newline="") as file:
        return expected, list(csv.DictReader(file)), output, done.stdout


@needs_nbgrader
def test_every_submission_gets_the_points_that_it_should(graded):
    expected, rows, _, _ = graded
    assert sum(sum(points.values()) for points in expected.values()) > 5
    found: dict = {learner: {} for learner in expected}
    for row in rows:
        found[row["learner"]][row["exercise"]] = float(row["points"])
    handed_in = {row["exercise"] for row in rows} - {"total"}
    for learner, points in expected.items():
        assert found[learner].pop("total") == sum(points.values()), learner
        assert found[learner] == {name: points[name] for name in handed_in}, learner


@needs_nbgrader
def test_what_could_not_be_graded_has_no_points_and_a_reason(graded):
    expected, rows, _, printed = graded
    said = {
        (row["learner"], row["exercise"]): row["remark"]
        for row in rows
        if row["remark"] not in ("", "2 points to be given by hand")
    }
    first = "01_architecture"
    assert said["nothing", first] == "not handed in"
    assert said["exits", first].startswith("stopped: its Python ended in the middle of a cell")
    assert said["stubborn", first].startswith("stopped: it did not end after its ")
    assert "JSON" in said["no notebook", first]
    counted = {(who, name) for who, each in expected.items() for name in each if each[name]}
    said_so = {(who, first) for who in ("deleted", "copied", "raises", "endless")}
    silent = counted - said_so | {("blank", first)}
    assert {key: said[key] for key in said.keys() & silent} == {}
    assert "is there 2 times; number 1 counts" in said["copied", first]
    if "tampered" in expected:
        assert "margin" in said["endless", first], "the cell that was interrupted is named"
        assert "put back" in said["tampered", first] and "missing" in said["deleted", first]
    assert f"stubborn: 0 of {rows[-1]['max']}" in printed


@needs_nbgrader
def test_a_page_shows_points_and_sentences_but_no_hidden_test_no_script_and_no_address(graded):
    expected, _, output, _ = graded
    for learner in expected:
        text = (output / f"{learner}.html").read_text()
        assert f"{learner}: {sum(expected[learner].values())} of" in text
        assert "HIDDEN TESTS" not in text and "torch.randn(50, 10" not in text
        assert not re.search(r"<script|<link|(src|href)=\"(?!data:|#|\.)", text), learner
    subtle = (output / "subtle.html").read_text()
    assert re.search("NotYet: outputs differ by up to .* second hidden layer", subtle)
    assert "alert(1)" in (output / "raises.html").read_text()
    if "tampered" in expected:  # among the few it is put in order, below, and not executed
        blank = (output / "tampered.html").read_text()
        assert "NotYet: this exercise is not solved yet" in blank and "0 of 1 points." in blank


@needs_nbgrader
@needs_bubblewrap
def test_nothing_to_grade_is_one_sentence(tmp_path):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        mnist_nb("grade", tmp_path, "-o", tmp_path / "out")
    said = caught.value.stderr
    assert said.startswith("Error: ") and said.count("\n") == 1 and str(tmp_path) in said


@needs_nbgrader
def test_without_bubblewrap_nothing_is_run_unless_it_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "sub" / "someone").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(subprocess.CalledProcessError) as caught:
        mnist_nb("grade", tmp_path / "sub", "-o", tmp_path / "out")
    assert "apt-get install bubblewrap" in caught.value.stderr


@needs_nbgrader
def test_where_bubblewrap_fails_nothing_is_run_and_a_sentence_says_why(tmp_path, monkeypatch):
    (tmp_path / "sub" / "someone").mkdir(parents=True)
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho no namespaces here >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(subprocess.CalledProcessError) as caught:
        mnist_nb("grade", tmp_path / "sub", "-o", tmp_path / "out")
    assert "(no namespaces here)" in caught.value.stderr


def contained(source: str) -> str:
    """What this Python code prints where learners' code runs."""
    prefix = [*containment.prlimit_prefix(), *containment.bwrap_prefix()]
    done = subprocess.run(
        [*prefix, sys.executable, "-c", source], capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout + done.stderr


@needs_bubblewrap
def test_inside_nothing_can_be_changed_and_only_what_is_needed_is_there(tmp_path):
    (tmp_path / "secret.toml").write_text("secret")
    places = [str(place) for place in (tmp_path, PROJECT, Path.home(), "/", "/usr", sys.prefix)]
    said = contained(submissions.OUTSIDE.format(folders=places))
    assert "Read-only file system" in said
    assert "secret" not in said and "HIDDEN" not in said and "Traceback" not in said
    assert (tmp_path / "secret.toml").read_text() == "secret"
    assert not [place for place in places if Path(place, MARK).exists()]
    listed = contained("import os; print(os.listdir('/tmp'), os.environ)")
    assert "MNIST_NB_TEST" not in listed and str(tmp_path.name) not in listed.split("]")[0]


@needs_bubblewrap
def test_inside_there_is_no_network():
    with socket.create_server(("127.0.0.1", 0)) as server:
        call = f"import socket; socket.create_connection({server.getsockname()}, timeout=5)"
        subprocess.run([sys.executable, "-c", call], check=True)  # from outside it answers
        assert "Connection refused" in contained(call)


@needs_bubblewrap
def test_inside_memory_and_the_working_folder_end_somewhere():
    assert "MemoryError" in contained("[bytearray(10**9) for _ in range(20)]")


@needs_bubblewrap
@pytest.mark.parametrize("place", ["/tmp", "/dev/shm"])
def test_inside_a_folder_in_memory_ends_somewhere(place):
    fill = f"for n in range(9): open(f'{place}/{{n}}', 'wb').write(bytes(50 << 20))"
    assert "No space left" in contained(fill)


@needs_bubblewrap
def test_inside_nothing_can_be_written_to_dev():
    said = contained("open('/dev/null', 'w').write('x'); open('/dev/x', 'w')")
    assert "Read-only file system: '/dev/x'" in said


MANY = "import os, sys, time, mmap, socket\n{}\nprint('ready', flush=True)\ntime.sleep(100)"


@needs_bubblewrap
@pytest.mark.parametrize(
    ("source", "why"),
    [("for n in range(9):\n    if not os.fork():\n        time.sleep(100)", "processes"),
     ("for n in range(3):\n    if not os.fork():\n        a = b'x' * (80 << 20)\n"
      "        time.sleep(100)", "memory"),
     ("a = b'x' * (80 << 20)\nfor n in range(2):\n    if not os.fork():\n"
      "        time.sleep(100)", ""),  # what they share counts once
     ("os.truncate(f := os.memfd_create('x'), 1)\nfor n in range(80):\n"
      "    os.write(f, b'x' * (1 << 20))\ntime.sleep(1)", "memory"),
     ("", "")],
)  # fmt: skip
def test_what_all_processes_take_together_ends_somewhere(monkeypatch, source, why):
    monkeypatch.setattr(containment, "MEMORY", 150 << 20 if "fork" in source else 70 << 20)
    monkeypatch.setattr(containment, "PROCESSES", 6)
    command = [*containment.bwrap_prefix(), sys.executable, "-c", MANY.format(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            end = time.monotonic() + (60 if why else 1)  # children on a busy machine come late
            while not (said := containment.watch(os.getpid())) and time.monotonic() < end:
                time.sleep(0.05)
        finally:
            process.kill()
    assert why in said and bool(why) == bool(said)


@needs_bubblewrap
def test_a_notebook_that_takes_too_much_is_ended_and_its_remark_says_so(monkeypatch):
    monkeypatch.setattr(sandbox, "watch", lambda pid: "it took too much")
    cell = {"id": "own", "source": "import time; time.sleep(100)", "code": True}
    learner, examiner = sandbox.Sandbox(True), sandbox.Examiner({"one": []})
    try:
        result = learner.run(examiner, {"exercise": "one", "cells": [cell], "seconds": 60})
    finally:
        learner.stop()
        examiner.stop()
    assert result["stopped"] == "it took too much"


@needs_bubblewrap
def test_inside_what_was_started_ends_with_it():
    start = """
import subprocess, sys
print("started")
sleep = [sys.executable, "-c", "import time; time.sleep(1e6)", "left-over"]
subprocess.Popen(sleep, start_new_session=True, stdout=subprocess.DEVNULL)
"""
    assert contained(start) == "started\n"
    living = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
    assert not [line for line in living if "left-over" in line and "sleep(1e6)" in line]


@needs_nbgrader
def test_a_submission_is_put_in_order_before_it_is_graded(student):
    def blank():
        return nbformat.read(student / "exercises" / "01_architecture.ipynb", as_version=4)

    submitted = blank()
    by_id = {cell.id: cell for cell in submitted.cells}
    by_id["margin"].source = "def margin(scores):"
    half = nbformat.v4.new_code_cell("    return 1", metadata=by_id["margin"].metadata)
    own = nbformat.v4.new_code_cell("own = 1", metadata={"nbgrader": {"points": 9, "grade": True}})
    by_id["count-test"].source = "pass"
    by_id["count-test"].metadata.nbgrader.points = 99
    kept = [c for c in submitted.cells if c.id not in ("imports", "dropout", "dropout-test")]
    kept.sort(key=lambda cell: cell.id != "prune")  # moved to the top
    kept.insert(kept.index(by_id["margin"]) + 1, half)
    kept.insert(kept.index(half) + 1, own)
    submitted.cells = [nbformat.v4.new_code_cell("import math"), *kept]

    cells = read_cells(nbformat.writes(submitted).encode())
    notebook, remarks = repaired(cells, blank())
    result = {name_of(cell): cell for cell in notebook.cells}
    order = [cell for cell in result if cell in {c.id for c in blank().cells}]
    assert order == [cell.id for cell in blank().cells]
    assert result["margin"].source == "def margin(scores):\n    return 1"
    for cell in blank().cells:
        if cell.id != "margin":
            assert result[cell.id] == cell
    assert next(iter(result.values())).source == "import math"
    assert remarks == [
        'the locked cell "count-test" was changed and is put back',
        'the cell "dropout" is missing, so it counts as not solved',
    ]
    (extra,) = [cell for cell in result.values() if cell.source == "own = 1"]
    assert "nbgrader" not in extra.metadata
    assert list(result).index(extra.id) == list(result).index("margin") + 1
