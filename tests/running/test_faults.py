"""Full disks, locked folders, killed processes: nothing corrupt, nothing lost, and on it goes."""

import contextlib
import itertools
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from click.testing import CliRunner
from conftest import PROJECT, SLICE, WALKTHROUGH, Family, wait_until, words

from mnist_nb import data
from mnist_nb.tools import checksums
from mnist_nb.tools.cli import main
from mnist_nb.tools.runs.keeping import keep
from mnist_nb.tools.verify.normal_form import serialised

resource = pytest.importorskip("resource", reason="needs a POSIX system")

THE_COMMAND = ("-m", "mnist_nb.tools.cli")
LONG = "A text that is longer than what fits on a full disk. " * 200


def committed(path: Path, source: str = "print('new')") -> bytes:
    """A notebook as it is committed, whose output `refresh` would change; its bytes."""
    stale = [nbformat.v4.new_output("stream", name="stdout", text="old\n")]
    cell = nbformat.v4.new_code_cell(source, id="code", execution_count=1, outputs=stale)
    text = nbformat.v4.new_markdown_cell(LONG, id="text")
    path.write_text(serialised(nbformat.v4.new_notebook(cells=[text, cell])))
    return path.read_bytes()


def shows(path: Path, text: str) -> bool:
    """Is the file at `path` a whole executed notebook that shows `text`?"""
    cells = nbformat.read(path, as_version=4).cells
    return any(text in output.get("text", "") for c in cells for output in c.get("outputs", []))


def mnist_nb(*arguments, cwd, prefix=(), **options) -> subprocess.CompletedProcess:
    command = [*prefix, sys.executable, *THE_COMMAND, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=300, **options
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess, *parts: object) -> bool:
    """Did it end with one sentence that has all `parts`, and no traceback?"""
    *_, last = done.stderr.splitlines()
    assert done.returncode != 0 and last.startswith("Error: "), done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("Error: ") == 1, done.stderr
    return all(str(part) in last for part in parts) or pytest.fail(last)


def files_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


# --- full disks


@pytest.fixture
def disk(tmp_path):
    """A disk of 80 MB to be filled, where one can be mounted; else a limit on what is written."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = False
    with contextlib.suppress(OSError):
        mount = ["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", folder]
        mounted = subprocess.run(mount, capture_output=True).returncode == 0

    def fill(leave: int = 0) -> dict:
        """How to start a process that finds no more than `leave` bytes of room."""
        if not mounted:
            limit = max(leave, 6000)  # what a kernel's own small files need
            lower = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # noqa: E731
            return {"preexec_fn": lower}
        with open(folder / "filler", "wb") as filler:
            filler.write(bytes(max(0, shutil.disk_usage(folder).free - leave)))
        return {}

    yield SimpleNamespace(
        folder=folder,
        mounted=mounted,
        fill=fill,
        make_room=lambda: (folder / "filler").unlink(missing_ok=True),
    )
    if mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


FULL = r"No space left on device|File too large"


def test_a_full_disk_holds_no_half_data_and_all_once_there_is_room(disk, packed):
    raw = disk.folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in packed.iterdir():
        shutil.copy(path, raw)
    fetch = ("data", "--data-dir", disk.folder)
    for leave in [0, 1_000_000, 47_000_000] + [47_100_000] * disk.mounted:
        done = mnist_nb(*fetch, cwd="/", **disk.fill(leave))
        assert refused(done, f"the data folder {disk.folder} cannot be written")
        assert re.search(FULL, done.stderr)
        for path in raw.iterdir():
            known = data.CHECKSUMS["MNIST"].get(path.name)
            assert path.suffix == ".gz" or data._fault(path, known) is None
        disk.make_room()
    assert mnist_nb(*fetch, cwd="/").returncode == 0
    assert len(checksums.of_dataset("MNIST", disk.folder)) == 4


def test_a_run_onto_a_full_disk_ends_before_it_begins_and_works_once_there_is_room(disk, tmp_path):
    before = committed(tmp_path / "n.ipynb")
    run = ("run", "n.ipynb", "-o", disk.folder / "runs")
    done = mnist_nb(*run, cwd=tmp_path, **disk.fill())
    assert refused(done, f"the output folder {disk.folder / 'runs'} cannot be written")
    assert re.search(FULL, done.stderr) and done.stdout == ""
    disk.make_room()
    assert files_in(disk.folder) == []
    assert mnist_nb(*run, cwd=tmp_path).returncode == 0
    assert shows(disk.folder / "runs" / "n.ipynb", "new")
    assert (tmp_path / "n.ipynb").read_bytes() == before


FILL = """
try:
    with open({!r}, "wb") as filler:
        filler.write(bytes(90_000_000))
except OSError:
    print("full")
"""


def test_a_disk_that_fills_up_during_a_run_costs_nothing_of_it(disk, tmp_path):
    if not disk.mounted:
        pytest.skip("needs a disk that can be mounted")
    committed(tmp_path / "n.ipynb", FILL.format(str(disk.folder / "filler")))
    done = mnist_nb("run", "n.ipynb", "-o", disk.folder, cwd=tmp_path)
    assert refused(done, f"the output folder {disk.folder} cannot be written (No space left")
    assert files_in(disk.folder) == ["filler"]
    kept = Path(re.search(r"stays in ([^;]*);", done.stderr)[1])
    assert shows(kept, "full")
    shutil.rmtree(kept.parent)


def test_a_disk_of_temporary_files_that_fills_up_is_one_sentence(disk, tmp_path):
    if not disk.mounted:
        pytest.skip("needs a disk that can be mounted")
    # it prints more than there was room for when the disk was full
    source = FILL.format(str(disk.folder / "filler")) + "\nprint(('x' * 99 + '\\n') * 5_000)"
    committed(tmp_path / "n.ipynb", source)
    environment = os.environ | {"TMPDIR": str(disk.folder)}
    done = mnist_nb("run", "n.ipynb", cwd=tmp_path, env=environment)
    assert refused(done, f"{disk.folder}", "cannot be written (No space left")
    assert files_in(disk.folder) == ["filler"]
    for path in (tmp_path / "runs").iterdir():
        assert str(path.name) in done.stderr and nbformat.read(path, as_version=4)


def test_a_refresh_on_a_full_disk_leaves_the_notebook_and_works_once_there_is_room(disk):
    path = disk.folder / "n.ipynb"
    before = committed(path)
    done = mnist_nb("refresh", path, cwd="/", **disk.fill())
    assert refused(done, str(path), f"the folder {disk.folder} cannot be written")
    disk.make_room()
    assert path.read_bytes() == before and files_in(disk.folder) == ["n.ipynb"]
    assert mnist_nb("refresh", path, cwd="/").returncode == 0
    assert shows(path, "new") and files_in(disk.folder) == ["n.ipynb"]


def test_a_refresh_without_room_for_temporary_files_is_one_sentence(tmp_path):
    before = committed(tmp_path / "n.ipynb")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # noqa: E731
    done = mnist_nb("refresh", "n.ipynb", cwd=tmp_path, preexec_fn=limit)
    assert refused(done, "n.ipynb: a kernel needs a folder for temporary files", "TMPDIR")
    assert (tmp_path / "n.ipynb").read_bytes() == before and files_in(tmp_path) == ["n.ipynb"]


# --- locked folders


READ_ONLY, CLOSED = 0o555, 0o000


@contextlib.contextmanager
def locked(folder: Path, mode: int):
    """Take permission away for a while; how to start a process that must obey."""
    prefix = []
    if os.geteuid() == 0:  # root must obey only without its capabilities
        if not shutil.which("setpriv"):
            pytest.skip("needs setpriv of util-linux, as root may do everything")
        prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    before = folder.stat().st_mode
    folder.chmod(mode)
    try:
        yield {"prefix": prefix, "cwd": "/"}
    finally:
        folder.chmod(before)


def test_a_locked_data_folder_is_one_sentence_and_works_once_it_is_open(packed, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    shutil.copytree(packed, raw)
    before = files_in(tmp_path)
    for mode, folder in itertools.product((READ_ONLY, CLOSED), (tmp_path, raw)):
        with locked(folder, mode) as options:
            done = mnist_nb("data", "--data-dir", tmp_path, **options)
        assert refused(done, f"the data folder {tmp_path} cannot be written (Permission denied)")
        assert [name for name in files_in(tmp_path) if not name.endswith(".lock")] == before
    assert mnist_nb("data", "--data-dir", tmp_path, cwd="/").returncode == 0


def test_a_locked_output_folder_is_one_sentence_before_a_kernel_starts(tmp_path):
    notebook, runs = tmp_path / "n.ipynb", tmp_path / "runs"
    before = committed(notebook)
    runs.mkdir()
    for mode, folder in ((READ_ONLY, runs), (CLOSED, runs), (CLOSED, runs / "new")):
        with locked(runs, mode) as options:
            done = mnist_nb("run", notebook, "-o", folder, **options)
        assert refused(done, f"the output folder {folder} cannot be written (Permission denied)")
        assert files_in(tmp_path) == ["n.ipynb"] and notebook.read_bytes() == before
    assert mnist_nb("run", notebook, "-o", runs, cwd="/").returncode == 0
    assert shows(runs / "n.ipynb", "new")


def test_a_notebook_in_a_locked_folder_stays_as_it_is_and_is_refreshed_later(tmp_path):
    folder, notebook = tmp_path / "notebooks", tmp_path / "notebooks" / "n.ipynb"
    folder.mkdir()
    before = committed(notebook)
    for mode in (READ_ONLY, CLOSED):
        with locked(folder, mode) as options:
            done = mnist_nb("refresh", notebook, **options)
        assert refused(done, notebook, "Permission denied")
        assert files_in(folder) == ["n.ipynb"] and notebook.read_bytes() == before
    assert mnist_nb("refresh", notebook, cwd="/").returncode == 0
    assert shows(notebook, "new")


# --- killed, interrupted


@pytest.fixture
def project(tmp_path):
    """A small project under git, and a way to start a command in it and find what it started."""
    folder, temporary = tmp_path / "project", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    shutil.copy(PROJECT / ".gitignore", folder)
    source = "import time\nfor i in range(5):\n    time.sleep(0.1)\nprint('new')"
    before = committed(folder / "n.ipynb", source)

    def git(*arguments) -> str:
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", *author, *arguments], cwd=folder, capture_output=True, text=True, check=True
        ).stdout

    family = Family(folder, TMPDIR=str(temporary))

    def start(*arguments, python=THE_COMMAND, **options) -> subprocess.Popen:
        return family.start(*python, *arguments, **options)

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "as it was")
    yield SimpleNamespace(
        folder=folder,
        notebook=folder / "n.ipynb",
        before=before,
        start=start,
        alive=family.alive,
        status=lambda: git("status", "--porcelain"),
        restore=lambda: git("checkout", "--quiet", "."),
    )
    family.end()


def nothing_is_wrong(project) -> None:
    """No orphan, nothing but whole notebooks, nothing that git would see."""
    wait_until(lambda: not project.alive(), "a kernel lives on without its parent")
    for path in (project.folder / "runs").glob("[!.]*"):
        if path.is_dir() and not list(path.iterdir()):
            continue  # the working folder of a run that was killed
        assert shows(path, "new") or path.match("*.failed.ipynb"), f"{path} is not whole"
    if project.status() == "":
        assert project.notebook.read_bytes() == project.before
    else:  # it was done, and killed on its way out
        assert project.status() == " M n.ipynb\n" and shows(project.notebook, "new")
        project.restore()


@pytest.mark.whole  # besides the moments that matter, of the next test, at random ones
@pytest.mark.parametrize("command", ["run", "refresh"])
def test_killed_at_any_moment_nothing_is_lost_and_the_next_attempt_works(project, command):
    took = 3.0  # a guess, mended by the first attempt that is not killed in time
    for number in range(5):
        child, began = project.start(command, "n.ipynb"), time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(random.uniform(0, took))
            took = time.monotonic() - began
        kill = os.killpg if number % 2 else os.kill
        with contextlib.suppress(ProcessLookupError):
            kill(child.pid, signal.SIGKILL)
        child.communicate()
        nothing_is_wrong(project)
    assert project.start(command, "n.ipynb").wait() == 0
    assert project.status() == ("" if command == "run" else " M n.ipynb\n")
    nothing_is_wrong(project)


@pytest.mark.parametrize(
    ("command", "moment"),
    [
        ("run", "os.replace"),
        ("run", "os.link"),
        ("refresh", "os.fsync"),
        ("refresh", "os.replace"),
    ],
)
def test_killed_while_the_result_is_written_nothing_is_lost(project, command, moment):
    script = (
        f"import os, signal\n"
        f"{moment} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"from mnist_nb.tools.cli import main\n"
        f"main()\n"
    )
    child = project.start(command, "n.ipynb", python=["-c", script])
    child.communicate()
    assert child.returncode == -signal.SIGKILL, "it was killed at that moment"
    nothing_is_wrong(project)
    assert project.notebook.read_bytes() == project.before


@pytest.mark.parametrize("command", ["run", "refresh"])
def test_a_kernel_killed_at_any_moment_ends_it_with_one_sentence(project, command):
    child = project.start(command, "n.ipynb")
    launcher = sys.platform == "linux"
    wait_until(lambda: len(project.alive()) > 1 + launcher, "a kernel is started")
    time.sleep(random.uniform(0, 0.5))
    for process in project.alive():
        if process.pid != child.pid:
            process.kill()
    _, stderr = child.communicate()
    assert child.returncode != 0 and stderr.count("\n") == 1, stderr
    assert "the kernel does not answer" in stderr
    if command == "run":
        assert "n.failed.ipynb" in stderr or "no output was written yet" in stderr
    nothing_is_wrong(project)


@pytest.mark.parametrize("command", ["run", "refresh"])
def test_ctrl_c_ends_with_one_sentence_that_says_what_is_kept(project, command):
    source = "import time\nprint('so far', flush=True)\nopen('begun', 'w').close()\ntime.sleep(99)"
    before = committed(project.notebook, source)
    child = project.start(
        *(["run", "--cwd", "."] if command == "run" else [command]),
        "n.ipynb",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_until((project.folder / "begun").exists, "the cell is executed")
    if command == "run":
        assert child.stdout.readline() == "so far\n", "what it printed has arrived"
    os.killpg(child.pid, signal.SIGINT)
    _, stderr = child.communicate()
    assert child.returncode != 0 and stderr.count("\n") == 1 and "interrupted; " in stderr
    assert project.notebook.read_bytes() == before
    wait_until(lambda: not project.alive(), "the kernel has gone too")
    if command == "run":
        assert "kept as runs/n.interrupted.ipynb" in stderr
        assert shows(project.folder / "runs" / "n.interrupted.ipynb", "so far")


@pytest.mark.whole
def test_the_walkthrough_killed_half_way_leaves_nothing_wrong_and_runs_the_next_time(project):
    before = WALKTHROUGH.read_bytes()
    run = ("run", *words(SLICE | {"epochs": 200}))
    child = project.start(*run)
    while not child.stdout.readline().startswith("Epoch 2"):
        assert child.poll() is None
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    wait_until(lambda: not project.alive(), "a kernel lives on without its parent")
    assert WALKTHROUGH.read_bytes() == before
    assert files_in(project.folder / "runs") == [] and project.status() == ""
    child = project.start("run", *words(SLICE | {"epochs": 1}))
    stdout, stderr = child.communicate()
    assert child.returncode == 0 and "Epoch 1" in stdout, stderr


# --- and the rest


def test_a_run_whose_machine_cannot_be_noted_is_kept_and_one_sentence_says_why(tmp_path):
    committed(tmp_path / "n.ipynb")
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    git.write_text("#!/bin/sh\nprintf '\\377\\n'\n")  # not a text
    git.chmod(0o755)
    path = f"{git.parent}{os.pathsep}{os.environ['PATH']}"
    done = mnist_nb("run", "n.ipynb", cwd=tmp_path, env=os.environ | {"PATH": path})
    assert done.returncode == 0 and done.stderr.count("\n") == 1
    assert "machine metadata to the executed notebook ('utf-8' codec" in done.stderr
    assert shows(tmp_path / "runs" / "n.ipynb", "new")


def test_a_notebook_that_is_saved_while_it_is_refreshed_is_not_overwritten(tmp_path):
    before = committed(tmp_path / "n.ipynb", "with open('n.ipynb', 'a') as f:\n    f.write(' ')")
    done = mnist_nb("refresh", "n.ipynb", cwd=tmp_path)
    assert refused(done, "n.ipynb was changed while it was executed")
    assert (tmp_path / "n.ipynb").read_bytes() == before + b" "


def test_of_eight_runs_that_end_at_once_each_has_a_name_of_its_own(tmp_path):
    fork = multiprocessing.get_context("fork")
    together = fork.Barrier(8)

    def end(number):
        unfinished = tmp_path / "aside" / str(number) / "n.ipynb"
        unfinished.parent.mkdir(parents=True)
        unfinished.write_text(str(number))
        together.wait()
        keep(unfinished, tmp_path, "n")

    children = [fork.Process(target=end, args=(number,)) for number in range(8)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert sorted(path.read_text() for path in tmp_path.glob("n*.ipynb")) == list("01234567")
    assert files_in(tmp_path / "aside") == []


@pytest.mark.parametrize("command", ["run", "refresh"])
def test_what_is_no_notebook_is_one_sentence(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.ipynb").mkdir()
    for name, content in {"empty": b"", "cut": b'{"cells": [', "junk": bytes(range(256))}.items():
        (tmp_path / f"{name}.ipynb").write_bytes(content)
    before = files_in(tmp_path)
    for name in ("missing", "folder", "empty", "cut", "junk"):
        done = CliRunner().invoke(main, [command, f"{name}.ipynb"])
        assert done.exit_code != 0 and done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("Error: ") and f"{name}.ipynb" in done.stderr
        assert files_in(tmp_path) == before
