"""Work is not lost: places that fail, clusters that fail, signals, readers that leave."""

import errno
import importlib.util
import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from conftest import Family, small_notebook, wait_until
from papermill.iorw import papermill_io

from mnist_nb.errors import Problem
from mnist_nb.tools.cli import main
from mnist_nb.tools.runs import outcomes
from mnist_nb.tools.runs import run as one_run
from mnist_nb.tools.runs.identity import checked_runs
from mnist_nb.tools.runs.lookup import place_of
from mnist_nb.tools.runs.plans import SweepError
from mnist_nb.tools.runs.sweep import carry_out, prepare
from mnist_nb.tools.runs.work import do_run

WORK = sys.modules[do_run.__module__]
PARAMETERS = "x: int = 1\nlog: str = ''"


def fake_execute(notebook, output, values, quiet, **more):
    """What papermill does, without a kernel: x is 13 in a run that fails."""
    read = nbformat.read(notebook, as_version=4)
    read.cells[-1].outputs = [nbformat.v4.new_output("stream", text=f"{values}\n")]
    nbformat.write(read, output)
    if values.get("x") == 13:
        raise one_run.RunError("cell In [2] failed: ZeroDivisionError: x")


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """A notebook whose runs take no time here, and an empty folder for temporary files."""
    monkeypatch.setattr(WORK, "execute", fake_execute)
    monkeypatch.setattr(one_run, "execute", fake_execute)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    return small_notebook(tmp_path / "n.ipynb", "print(x, log)", parameters=PARAMETERS)


def temporary(tmp_path) -> list[Path]:
    return sorted(p for p in (tmp_path / "temporary").rglob("*") if "dask" not in str(p))


def test_a_result_whose_machine_cannot_be_noted_is_kept(notebook, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise KeyError("data_dir")

    monkeypatch.setattr(WORK, "note_machine", fail)
    (run,) = checked_runs(nbformat.read(notebook, as_version=4), [{"x": "2"}])
    outcome = do_run(notebook.read_text(), "n", run, place_of(str(tmp_path), run, "n").path, ".")
    (kept,) = (tmp_path / run.name).iterdir()
    assert outcome.state == "not stored" and str(kept) in outcome.why


# --- clusters


def test_two_sweeps_of_one_plan_into_two_folders_on_one_cluster_fill_both(notebook, one_worker):
    plan = {"grid": {"x": "0:3"}}
    first = carry_out(prepare(notebook, plan, "first"), one_worker.scheduler_address, quiet=True)
    ends = [next(first)]
    second = list(
        carry_out(prepare(notebook, plan, "second"), one_worker.scheduler_address, quiet=True)
    )
    ends += [*first, *second]
    assert [outcome.state for _, outcome in ends] == ["finished"] * 6
    for folder in ("first", "second"):
        assert len(list(Path(folder).glob("*/n.ipynb"))) == 3


def test_two_sweeps_do_not_work_in_one_folder(notebook, one_worker):
    plan = {"grid": {"x": "0:3"}}
    first = carry_out(prepare(notebook, plan, "out"), one_worker.scheduler_address, quiet=True)
    ends = [next(first)]
    done = CliRunner().invoke(main, ["sweep", "n.ipynb", "-g", "x", "0:3", "-o", "out"])
    assert done.exit_code == 2 and "another sweep is running in" in done.stderr
    ends += first  # which goes on
    assert [outcome.state for _, outcome in ends] == ["finished"] * 3


def test_what_workers_store_where_nobody_sees_it_is_not_called_finished(
    notebook, one_worker, monkeypatch
):
    monkeypatch.setattr(WORK, "_write", lambda *_: None)
    monkeypatch.setattr(outcomes, "VISIBLE_WITHIN", 0)
    options = ["-g", "x", "0:2", "-o", "out", "--scheduler", one_worker.scheduler_address]
    done = CliRunner().invoke(main, ["sweep", "n.ipynb", *options])
    assert done.exit_code != 0 and "0 of 2 runs are finished" in done.stdout
    assert "2 missing: " in done.stderr and "does not see" in done.stderr, done.stderr


def test_workers_that_do_not_share_the_folder_are_named_before_anything_runs(
    notebook, one_worker, monkeypatch, tmp_path
):
    elsewhere = lambda folder, size, mark: WORK.write_error(folder, size, f"/elsewhere{mark}")  # noqa: E731
    monkeypatch.setattr("mnist_nb.tools.runs.cluster.write_error", elsewhere)
    with pytest.raises(SweepError, match=r"1 of 1 workers cannot store results: .* does not see"):
        list(carry_out(prepare(notebook, {}, "out"), one_worker.scheduler_address))
    (run,) = checked_runs(nbformat.read(notebook, as_version=4), [{}])
    place = place_of(str(tmp_path / "far"), run, "n").path
    outcome = do_run(notebook.read_text(), "n", run, place, ".", None, "/elsewhere/mark")
    assert outcome.state == "failed" and "does not see the folder /elsewhere" in outcome.why
    assert not Path("far").exists()


def test_a_cluster_that_gets_no_worker_is_given_up_in_a_sentence(
    notebook, one_worker, monkeypatch
):
    one_worker.scale(0)
    wait_until(lambda: not one_worker.scheduler.workers, "its worker has gone")
    monkeypatch.setattr(outcomes, "WAIT_FOR_WORKERS", 0)
    with pytest.raises(SweepError, match=r"has no worker; start one .*; 0 of 1 runs had ended"):
        list(carry_out(prepare(notebook, {}, "out"), one_worker.scheduler_address, quiet=True))


@pytest.fixture
def family(tmp_path):
    # its name is short enough for a socket's
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        family = Family(tmp_path, TMPDIR=temporary)
        family.temporary = Path(temporary)
        yield family
        family.end()


def test_a_missing_worker_is_said_and_a_scheduler_that_dies_is_one_sentence(family, tmp_path):
    small_notebook(tmp_path / "n.ipynb", "print(x)", parameters=PARAMETERS)
    address = f"127.0.0.1:{20_000 + os.getpid() % 20_000}"
    host, port = address.split(":")
    options = ("--host", host, "--port", port, "--no-dashboard")
    scheduler = family.start("-m", "distributed.cli.dask_scheduler", *options)
    command = ("sweep", "n.ipynb", "-g", "x", "0:2", "--scheduler", f"tcp://{address}")
    started = family.start("-m", "mnist_nb.tools.cli", *command)
    said = started.stderr.readline()
    assert "the cluster has no worker" in said and f"`dask worker tcp://{address}`" in said, said
    scheduler.kill()
    _, stderr = started.communicate()
    assert started.returncode != 0 and "Traceback" not in stderr, stderr
    assert stderr.startswith("Error: Dask's scheduler is gone; 0 of 2 runs had ended"), stderr
    assert stderr.count("\n") == 1


# --- places


class Shelf:
    """A place of papermill's that takes what `refuses` does not match."""

    def __init__(self, refuses: str):
        self.refuses, self.kept = refuses, {}

    def write(self, text, place):
        if re.search(self.refuses, place):
            raise ConnectionError("the shelf\nis gone")
        self.kept[place] = text

    def read(self, place):
        return self.kept[place]


@pytest.fixture
def shelf(monkeypatch):
    def put_up(refuses: str) -> Shelf:
        shelf = Shelf(refuses)
        handlers = [*papermill_io._handlers, ("shelf://", shelf)]
        monkeypatch.setattr(papermill_io, "_handlers", handlers)
        return shelf

    return put_up


def test_an_address_that_cannot_be_written_is_refused_before_anything_runs(
    notebook, shelf, tmp_path
):
    shelf("")
    wrong = {"shelf://a": "the shelf is gone", "nowhere://a": "cannot be written"}
    if not importlib.util.find_spec("boto3"):
        wrong["s3://bucket/a"] = "boto3"
    for folder, why in wrong.items():
        done = CliRunner().invoke(main, ["sweep", "n.ipynb", "-g", "x", "1,2", "-o", folder])
        assert done.exit_code != 0 and isinstance(done.exception, SystemExit)
        assert done.stderr.startswith(f"Error: {folder} cannot be written (")
        assert why in done.stderr and done.stderr.count("\n") == 1
    assert temporary(tmp_path) == []


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("x", ["1", "13"], ids=["a result", "a notebook that failed"])
@pytest.mark.parametrize("where", ["shelf://a", "out"])
def test_what_a_worker_cannot_store_is_kept_and_it_says_where(
    notebook, shelf, monkeypatch, tmp_path, where, x
):
    shelf("ipynb")
    (run,) = checked_runs(nbformat.read(notebook, as_version=4), [{"x": x}])
    with monkeypatch.context() as patched:
        for writes in ("write_whole", "write_new"):
            patched.setattr(WORK, writes, no_space)
        place = place_of(where, run, "n").path
        outcome = do_run(notebook.read_text(), "n", run, place, ".", str(tmp_path / "temporary"))
    assert outcome.state == ("failed" if x == "13" else "not stored")
    why = "the shelf is gone" if where == "shelf://a" else "No space left on device"
    assert why in outcome.why and "\n" not in outcome.why
    kept = Path(re.search(r"kept as (\S+) on ", outcome.why)[1])
    assert temporary(tmp_path) == [kept.parent, kept], "and nothing else is left"
    assert f"'x': {x}" in kept.read_text()


def test_a_worker_tries_the_folder_before_the_work(notebook, monkeypatch, tmp_path):
    (run,) = checked_runs(nbformat.read(notebook, as_version=4), [{}])
    monkeypatch.setattr(WORK, "execute", lambda *_, **__: pytest.fail("it was run"))
    (tmp_path / "file").write_text("no folder")
    outcome = do_run(notebook.read_text(), "n", run, "file/a/n.ipynb", ".")
    assert outcome.state == "failed" and "file/a cannot be written (Not a dir" in outcome.why


@pytest.mark.parametrize("letter", ["a", "ü", "数"])
def test_names_that_are_too_long_for_a_folder_are_cut(notebook, tmp_path, letter):
    stem = (letter * 249).encode()[:240].decode(errors="ignore")
    long = notebook.rename(tmp_path / f"{stem}.ipynb")
    values = {"log": letter * 300, "x": "13"}
    ends = dict(carry_in_process(prepare(long, {"runs": [values, values | {"x": "2"}]}, "out")))
    assert sorted(outcome.state for outcome in ends.values()) == ["failed", "finished"]
    assert len(list((tmp_path / "out").glob("*/*.ipynb"))) == 2
    assert one_run.run(long, values | {"x": "1"}, tmp_path / "runs").is_file()
    with pytest.raises(Problem, match="the notebook so far is"):
        one_run.run(long, values, tmp_path / "runs")


def carry_in_process(sweep):
    for run in sweep.left:
        text = nbformat.writes(sweep.notebook)
        place = sweep.places[run.name].path
        yield run.name, do_run(text, sweep.stem, run, place, ".")


def test_a_folder_that_is_removed_during_a_run_is_made_again(notebook, monkeypatch, tmp_path):
    def execute(*arguments, **more):
        shutil.rmtree(tmp_path / "runs")
        fake_execute(*arguments, **more)

    monkeypatch.setattr(one_run, "execute", execute)
    assert one_run.run(notebook, {}, tmp_path / "runs").is_file()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_while_a_result_is_stored_comes_too_late(
    notebook, monkeypatch, tmp_path, number
):
    noted = one_run.note_machine
    meanwhile = lambda *arguments: (os.kill(os.getpid(), number), noted(*arguments))  # noqa: E731
    monkeypatch.setattr(one_run, "note_machine", meanwhile)
    done = CliRunner().invoke(main, ["run", "n.ipynb"])
    assert done.exit_code == 0 and Path("runs/n.ipynb").is_file(), done.stderr
    assert temporary(tmp_path) == []


# --- signals


SLOW = "import time\nprint('so far', flush=True)\nopen(f'begun{x}', 'w').close()\ntime.sleep(99)"


@pytest.mark.parametrize("what", ["run", "refresh", "sweep"])
def test_sigterm_ends_with_what_there_is_and_leaves_nothing_behind(family, tmp_path, what):
    path = small_notebook(tmp_path / "n.ipynb", SLOW, parameters="x: int = 1")
    before = path.read_bytes()
    more = {"run": ["--cwd", "."], "refresh": [], "sweep": ["-g", "x", "1", "--cwd", "."]}[what]
    child = family.start("-m", "mnist_nb.tools.cli", what, "n.ipynb", *more)
    wait_until((tmp_path / "begun1").exists, "the cell is executed")
    if what == "run":
        assert child.stdout.readline() == "so far\n", "what it printed has arrived"
    (os.killpg if what == "sweep" else os.kill)(child.pid, signal.SIGTERM)
    _, stderr = child.communicate()
    assert child.returncode == 130 and stderr.count("Error: ") == 1 and "interrupted" in stderr, (
        stderr
    )
    assert "Traceback" not in stderr
    wait_until(lambda: not family.alive(), "kernels and workers have gone too")
    assert path.read_bytes() == before
    left = [path.name for path in family.temporary.iterdir()]
    assert left in ([], ["dask-scratch-space"])
    assert not list(tmp_path.rglob("*.failed.ipynb"))
    if what == "run":
        kept = tmp_path / "runs" / "n.interrupted.ipynb"
        assert f"kept as {kept.relative_to(tmp_path)}" in stderr
        assert "so far" in kept.read_text()


HALF = """import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('so far', x, flush=True)
if x == 1:
    open('half.txt', 'w').write('half')
open(f'{log}{x}', 'w').close()
while not os.path.exists(f'{log}-go'):
    time.sleep(0.1)"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_stopped_keeps_what_its_runs_have_so_far_and_goes_on_when_given_again(
    family, tmp_path, number
):
    small_notebook(tmp_path / "n.ipynb", HALF, parameters=PARAMETERS)
    log = tmp_path / "log"
    sweep = ("-m", "mnist_nb.tools.cli", "sweep", "n.ipynb", "-g", "x", "1,2,3", "-p", "log", log,
             "-o", "out", "--jobs", "2")  # fmt: skip
    hears = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    child = family.start(*sweep, preexec_fn=hears)
    wait_until(lambda: all(map(os.path.exists, (f"{log}1", f"{log}2"))), "two runs are running")
    os.killpg(child.pid, number)
    _, stderr = child.communicate()
    assert child.returncode == 130 and "Traceback" not in stderr, stderr
    out = tmp_path / "out"
    one, two = (next(out.glob(f"x={x},*")) for x in (1, 2))
    assert len(list(out.glob("x=*"))) == 2, "no folder of the run not begun"
    assert sorted(path.name for path in one.iterdir()) == ["n.interrupted", "n.interrupted.ipynb"]
    assert [path.name for path in two.iterdir()] == ["n.interrupted.ipynb"]
    assert (one / "n.interrupted" / "half.txt").read_text() == "half"
    for x, folder in ((1, one), (2, two)):
        kept = folder / "n.interrupted.ipynb"
        assert f"so far {x}" in kept.read_text()
        assert str(kept.relative_to(tmp_path)) in stderr, stderr
    log.with_name("log-go").touch()
    again = family.start(*sweep)
    stdout, stderr = again.communicate()
    assert again.returncode == 0 and "0 finished before, 3 to do" in stdout, stderr
    assert len(list(out.glob("x=*/n.ipynb"))) == 3
    assert (one / "n" / "half.txt").exists() and (one / "n.interrupted.ipynb").exists()


# --- readers


def test_a_run_and_a_sweep_whose_reader_leaves_go_on_to_their_end(family, tmp_path):
    cells = ["print('first', flush=True)", "for i in range(5000):\n    print(i, x, flush=i < 9)"]
    small_notebook(tmp_path / "n.ipynb", *cells, parameters="x: int = 1")
    run = family.start("-m", "mnist_nb.tools.cli", "run", "n.ipynb")
    sweep = family.start(
        "-m", "mnist_nb.tools.cli", "sweep", "n.ipynb", "-g", "x", "1", "-o", "out"
    )
    for child in (run, sweep):
        assert child.stdout.readline()
        child.stdout.close()
        child.stderr.close() if child is sweep else None
    assert (run.stderr.read(), run.wait(), sweep.wait()) == ("", 0, 0)
    written = [*tmp_path.glob("runs/n.ipynb"), *tmp_path.glob("out/*/n.ipynb")]
    assert len(written) == 2 and all("4999 " in path.read_text() for path in written)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_what_is_printed_onto_a_full_disk_is_one_sentence_and_a_run_is_kept(notebook, tmp_path):
    script = (
        "import sys, nbformat\n"
        "from mnist_nb.tools.cli import main\n"
        "from mnist_nb.tools.runs import run as one_run\n"
        f"{inspect.getsource(fake_execute)}\n"
        "one_run.execute = fake_execute\n"
        "main(sys.argv[1:])"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script, "run", "n.ipynb"],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "cannot be written (No space left on device)" in done.stderr
    assert (tmp_path / "runs" / "n.ipynb").is_file()
