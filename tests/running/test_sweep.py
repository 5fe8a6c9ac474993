"""Many runs: planned, refused, killed, continued, read back."""

import asyncio
import csv
import gc
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import distributed
import nbformat
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from conftest import (
    PROJECT,
    SLICE,
    WALKTHROUGH,
    Family,
    small_notebook,
    wait_until,
    without_figures,
    words,
)
from papermill.iorw import papermill_io

from mnist_nb.tools.cli import main
from mnist_nb.tools.runs import identity
from mnist_nb.tools.runs.cluster import cluster
from mnist_nb.tools.runs.declared import declared_parameters
from mnist_nb.tools.runs.identity import checked_runs
from mnist_nb.tools.runs.lookup import place_of
from mnist_nb.tools.runs.plans import SweepError, expand, read_plan, values_of
from mnist_nb.tools.runs.progress import estimate
from mnist_nb.tools.runs.results import latest, read_record
from mnist_nb.tools.runs.run import RunError
from mnist_nb.tools.runs.sweep import carry_out, prepare
from mnist_nb.tools.runs.work import do_run, seconds_taken

# Notes in `log` that it begins; a run of half a second that fails where x is 13.
PARAMETERS = "x: int = 1\nlr: float = 0.1\nlog: str = ''\nunread = 5"
SOURCE = """import os, time
if log:
    with open(log, "a") as file:
        file.write(f"{x}\\n")
time.sleep(0.5)
print(x * lr / (x - 13))"""


@pytest.fixture
def notebook(tmp_path):
    return small_notebook(tmp_path / "n.ipynb", SOURCE, parameters=PARAMETERS)


def results_in(folder: Path) -> dict[str, bytes]:
    """Path below `folder` -> content, of what a sweep has finished."""
    found = (*folder.rglob("n.ipynb"), *folder.rglob("n-*.ipynb"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def open_loops() -> list[asyncio.BaseEventLoop]:
    loops = [it for it in gc.get_objects() if issubclass(type(it), asyncio.BaseEventLoop)]
    return [loop for loop in loops if not loop.is_closed()]


# --- plans


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ("0.1,1, 2", ["0.1", "1", "2"]),
        ("0:4", ["0", "1", "2", "3"]),
        ("0:10:5", ["0", "5"]),
        ("a", ["a"]),
        ("3:3", []),
        (",", []),
    ],
)
def test_values_are_lists_or_ranges(said, values):
    assert values_of(said) == values


def test_a_plan_has_grids_zipped_lists_runs_exceptions_and_additions(tmp_path):
    (tmp_path / "sweep.yaml").write_text("""
parameters: {epochs: 2}
grid: {lr: [0.1, 1e-3], seed: "1:3"}
zip:
  hidden: [8, 16]
  dropout: [0, 0.5]
runs:
  - {seed: 7, data_dir: null}
exclude:
  - {lr: 0.1, hidden: 16}
include:
  - {lr: 0.1, hidden: 16, epochs: 3}
""")
    rows = expand(read_plan(tmp_path / "sweep.yaml"))
    pairs = [("8", "0"), ("16", "0.5")]
    expected = [
        {"lr": lr, "seed": seed, "hidden": hidden, "dropout": dropout, "epochs": "2"}
        for lr in ("0.1", "1e-3")
        for seed in ("1", "2")
        for hidden, dropout in pairs
        if (lr, hidden) != ("0.1", "16")
    ]
    assert rows == [
        *expected,
        {"seed": "7", "data_dir": None, "epochs": "2"},
        {"lr": "0.1", "hidden": "16", "epochs": "3"},
    ]
    assert checked_runs(nbformat.read(WALKTHROUGH, as_version=4), rows)


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({"grid": {"lr": []}}, "lr has the values"),
        ({"grid": {"lr": "5:5"}}, "at least one"),
        ({"grid": {"lr": "2:0"}}, "'2:0', which is an empty range"),
        ({"grid": {"lr": ["1"]}, "parameters": {"lr": "1"}}, "'lr' is given twice"),
        ({"grid": {"lr": ["1"]}, "zip": {"lr": ["1"]}}, "'lr' is given twice"),
        (
            {"zip": {"lr": ["1"]}, "parameters": {"lr": "1"}},
            "in parameters .* and in the file's zip",
        ),
        ({"zip": {"lr": ["1"], "seed": ["1", "2"]}}, "lists of the same length"),
        ({"grid": {"lr": ["1"]}, "exclude": [{"lr": "1"}]}, "no run is left"),
    ],
)
def test_a_plan_that_says_nothing_clear_is_refused_in_a_sentence(plan, says):
    with pytest.raises(SweepError, match=says):
        expand(plan)


def test_names_of_runs_say_their_parameters_and_never_collide(notebook):
    read = nbformat.read(notebook, as_version=4)
    rows = [{"x": "1", "log": "a/b"}, {"x": "1", "log": "a_b"}, {"x": "1", "log": "c" * 200}]
    names = [run.name for run in checked_runs(read, [*rows, {"x": "2", "lr": "0.5"}, {}])]
    assert names[-2:] == ["x=2,lr=0.5", "defaults"]
    assert len(set(names)) == 5 and max(map(len, names)) < 140
    assert all(re.fullmatch(r"[-\w.=,+]+", name) for name in names)


def test_the_time_is_estimated_from_what_is_known_else_from_the_batches(notebook):
    read = nbformat.read(WALKTHROUGH, as_version=4)
    one, two = (checked_runs(read, [{"epochs": n}])[:1] for n in ("1", "20"))
    defaults = {"epochs": 5, "train_size": 55_000, "batch_size": 32}
    assert estimate(one, [], defaults) < estimate(two, [], defaults)
    assert estimate(one * 4, [10.0, 20.0], {}) == 2 * estimate(one * 2, [10.0, 20.0], {})
    other = checked_runs(nbformat.read(notebook, as_version=4), [{}])
    assert estimate(other, [], {"x": 1}) is None


# --- refused before anything runs


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-g", "epocs", "1,2"], "did you mean 'epochs'?"),
        (["-g", "lr", "0.1,fast"], "lr is 'fast'; it takes a number"),
        (["-g", "epochs", "1,1.5"], "epochs is '1.5'; it takes a whole number"),
        (["-g", "lr", "0.1,-1"], "lr is -1.0; it takes a number above 0"),
        (["-g", "lr", ","], "lr has the values ','; give at least one"),
        (["-g", "lr", "0.1,1e-1"], "lr=0.1 occurs twice"),
        (["-g", "lr", "0.1", "-g", "lr", "1"], "'lr' is given twice"),
        (["-g", "lr", "0.1", "-p", "lr", "1"], "'lr' is given twice"),
        (["nowhere.ipynb"], "cannot find the notebook nowhere.ipynb"),
        (["n.ipynb", "-g", "unread", "1,2"], "no cell of this notebook reads it"),
        (["n.ipynb", "-p", "unread", "1"], "no cell of this notebook reads it"),
        (["-f", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (
            ["-f", "odd.yaml"],
            "odd.yaml does not describe a sweep; its parts may be parameters, grid",
        ),
        (["-f", "mixed.yaml"], "runs takes a list of lines like `- {lr: 0.1}`"),
        (["n.ipynb", "-f", "same.yaml"], "the run with all defaults occurs twice"),
        (["-f", "list.yaml"], "grid takes lines like `lr: 0.1`"),
        (["-g", "lr", "1", "--scheduler", "tcp://"], "no Dask scheduler answers"),
        (["-g", "seed", "0:101"], "nothing was run; answer y to start, or give -y"),
        (["-g", "lr", "1", "-o", "n.ipynb/out"], "cannot be written (Not a directory)"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_before_anything_runs(
    notebook, tmp_path, monkeypatch, arguments, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.yaml").write_text("gird: {lr: [1]}")
    (tmp_path / "list.yaml").write_text("grid: [lr]")
    (tmp_path / "same.yaml").write_text("runs: [{lr: 0.1}, {}]")
    (tmp_path / "mixed.yaml").write_text("runs: [{lr: 1}, 5]")
    done = CliRunner().invoke(main, ["sweep", "-o", "out", *arguments])
    assert isinstance(done.exception, SystemExit), done.exception  # it would show a traceback
    assert done.exit_code == 2 and says in done.stderr, done.stderr
    assert not list(tmp_path.rglob("out/*/*"))


def test_an_estimate_from_the_batches_is_said_to_be_for_an_idle_machine(tmp_path):
    done = CliRunner().invoke(
        main, ["sweep", "-g", "seed", "1,2", "-o", str(tmp_path), "--dry-run"]
    )
    assert re.search(r"2 to do, about \d+ s on an idle machine like this", done.stdout), (
        done.output
    )


def test_seen_from_outside_a_refusal_is_one_sentence(command, notebook, tmp_path):
    for what in ("sweep", "run"):
        done = command(what, "n.ipynb", "-o", "out", "-p", "unread", "1")
        assert done.returncode == 2 and "no cell of this notebook reads it" in done.stderr
        assert done.stderr.count("\n") == 1 and done.stdout == ""
        assert not (tmp_path / "out").exists()


# --- run, continued


SWEEP = ("sweep", "n.ipynb", "-g", "lr", "0.5,1", "-o", "out", "-g", "x")


@pytest.fixture(scope="module")
def done_once(tmp_path_factory):
    """A folder with the sweep of six small runs, and the process that did it."""
    folder = tmp_path_factory.mktemp("done")
    small_notebook(folder / "n.ipynb", SOURCE, parameters=PARAMETERS)
    call = [sys.executable, "-m", "mnist_nb.tools.cli", *SWEEP, "0:3"]
    return folder, subprocess.run(call, cwd=folder, capture_output=True, text=True)


def test_a_sweep_leaves_a_notebook_per_run_and_the_same_command_runs_none_again(
    done_once, monkeypatch
):
    folder, done = done_once
    assert done.returncode == 0, done.stderr
    assert "6 runs of n.ipynb into out: 0 finished before, 6 to do" in done.stdout
    assert len(re.findall(r"^\d/6 lr=.*: finished, .* s; 0 failed, ", done.stdout, re.M)) == 6
    before = results_in(folder / "out")
    names = {f"lr={lr},x={x}/n.ipynb" for x in range(3) for lr in (0.5, 1.0)}
    assert before.keys() == names
    monkeypatch.chdir(folder)
    again = CliRunner().invoke(main, [*SWEEP, "0:3"])
    assert "6 finished before, 0 to do" in again.stdout and again.exit_code == 0
    assert results_in(folder / "out") == before


def test_a_run_that_fails_is_kept_named_counted_and_does_not_stop_the_others(
    done_once, one_worker, tmp_path, monkeypatch
):
    shutil.copytree(done_once[0], tmp_path, dirs_exist_ok=True)
    before = results_in(tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(
        main, [*SWEEP, "0,13,1,2,14", "--scheduler", one_worker.scheduler_address]
    )
    assert re.search(
        "6 finished before, 4 to do, about .* going by the finished runs", done.stdout
    )
    assert isinstance(done.exception, SystemExit) and done.exit_code == 1
    assert "8 of 10 runs are finished" in done.stdout
    assert "2 failed: " in done.stderr and "the same command" in done.stderr
    assert all(name in done.stderr for name in ("lr=0.5,x=13", "lr=1.0,x=13"))
    assert "failed: ZeroDivisionError" in done.stdout + done.stderr
    listed = CliRunner().invoke(main, [*SWEEP, "13,15", "--dry-run"]).stdout
    assert "lr=0.5,x=13: failed before" in listed and "to do     lr=0.5,x=15\n" in listed
    failed = sorted(path.parent.name for path in (tmp_path / "out").rglob("n.failed.ipynb"))
    assert failed == ["lr=0.5,x=13", "lr=1.0,x=13"]
    after = results_in(tmp_path / "out")
    assert before.items() <= after.items()
    assert after.keys() - before.keys() == {"lr=0.5,x=14/n.ipynb", "lr=1.0,x=14/n.ipynb"}


def do_what_is_left(notebook: Path, out: Path) -> tuple[int, set[str]]:
    """Do a sweep of two runs in this process; how many were left, why older ones did not count."""
    sweep = prepare(notebook, {"grid": {"x": "1,2"}}, str(out))
    for run in sweep.left:
        place = sweep.places[run.name].path
        assert do_run(notebook.read_text(), "n", run, place, str(out)).state == "finished"
    return len(sweep.left), {place.older for place in sweep.places.values()}


def test_a_changed_notebook_is_run_again_and_overwrites_nothing_a_changed_text_is_not(
    notebook, tmp_path
):
    out = tmp_path / "out"
    assert do_what_is_left(notebook, out) == (2, {""})
    first = results_in(out)
    changed = nbformat.read(notebook, as_version=4)
    changed.cells.append(nbformat.v4.new_markdown_cell("Text."))
    nbformat.write(changed, notebook)
    assert do_what_is_left(notebook, out) == (0, {""})
    (code,) = [cell for cell in changed.cells if "time.sleep" in cell.source]
    code.source += "\nprint('changed')"
    nbformat.write(changed, notebook)
    left, (why,) = do_what_is_left(notebook, out)
    assert left == 2 and "the code of the notebook" in why
    both = results_in(out)
    assert first.items() <= both.items()
    added = both.keys() - first.keys()
    assert added == {"x=1/n-2.ipynb", "x=2/n-2.ipynb"}
    assert all(b"changed" in both[name] for name in added)
    assert do_what_is_left(notebook, out)[0] == 0


def test_a_file_that_no_sweep_left_is_not_overwritten(notebook, tmp_path):
    (tmp_path / "out" / "x=1").mkdir(parents=True)
    (own := tmp_path / "out" / "x=1" / "n.ipynb").write_text("mine")
    left, whys = do_what_is_left(notebook, tmp_path / "out")
    assert left == 2 and whys == {"", "the file there is not a record of a sweep"}
    assert own.read_text() == "mine"


RECORDED = f"""{SOURCE}
from mnist_nb.record import show_record
row = {{"epoch": 1, "train_loss": 1.0, "val_loss": 1.0, "val_accuracy": 0.5}}
show_record("n", {{"x": x, "dataset": dataset}}, [row])"""


def test_with_another_package_torch_or_data_a_record_does_not_count_and_says_why(
    tmp_path, monkeypatch
):
    own = PARAMETERS + "\ndataset: str = 'MNIST'"
    notebook = small_notebook(tmp_path / "n.ipynb", RECORDED, parameters=own)
    out, version = tmp_path / "out", identity._version
    assert do_what_is_left(notebook, out)[0] == 2
    for what, changed, word in (
        ("mnist_nb.tools.runs.identity.package_sha256", lambda: "other", "mnist_nb"),
        (
            "mnist_nb.tools.runs.identity._version",
            lambda name: "0" if name == "torch" else version(name),
            "torch",
        ),
        (
            "mnist_nb.tools.checksums.of_dataset",
            lambda *_: {"train-images-idx3-ubyte": "other"},
            "data",
        ),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(what, changed)
            sweep = prepare(notebook, {"grid": {"x": "1,2"}}, str(out))
        (why,) = {place.older for place in sweep.places.values()}
        assert len(sweep.left) == 2 and word in why
    assert do_what_is_left(notebook, out)[0] == 0
    shutil.copy(out / "x=1" / "n.ipynb", out / "x=1" / "n-2.ipynb")  # as if made again
    shown = CliRunner().invoke(main, ["results", str(out), "--csv"])
    assert len(shown.stdout.splitlines()) == 3 and "n-2.ipynb" in shown.stdout
    assert "left out, as a sweep replaced them: 1" in shown.stderr


def test_after_a_change_is_taken_back_the_sweep_and_its_results_speak_of_the_same_records(
    notebook, tmp_path
):
    out, first = tmp_path / "out", notebook.read_text()
    for text in (first, first.replace("time.sleep(0.5)", "time.sleep(0.4)"), first):
        notebook.write_text(text)
        assert do_what_is_left(notebook, out)[0] == 2
    assert do_what_is_left(notebook, out)[0] == 0
    sweep = prepare(notebook, {"grid": {"x": "1,2"}}, str(out))
    assert [Path(place.path).name for place in sweep.places.values()] == ["n-3.ipynb"] * 2


@pytest.mark.parametrize(
    "own", ["dataset: str = 'MNIST'", "dataset: int = 3", "dataset: str = 'a'\ndata_dir: int = 3"]
)
def test_a_dataset_that_means_something_else_in_a_notebook_makes_no_run_twice(own, tmp_path):
    source = f"{SOURCE}\nprint(dataset)" + "\nprint(data_dir)" * ("data_dir" in own)
    notebook = small_notebook(tmp_path / "n.ipynb", source, parameters=f"{PARAMETERS}\n{own}")
    assert [do_what_is_left(notebook, tmp_path / "out")[0] for _ in range(2)] == [2, 0]


def record_at(path: Path, **machine) -> dict:
    return {"file": str(path), "machine": machine}


def test_the_latest_of_a_runs_records_is_found_by_the_notebooks_name_not_by_a_number(tmp_path):
    mine = {"sweep_key": "k"}
    two = [
        record_at(tmp_path / f"exp-{n}.ipynb", sweep_notebook=f"exp-{n}", **mine) for n in (1, 2)
    ]
    assert latest(two) == (two, 0)
    again = record_at(tmp_path / "exp-2-2.ipynb", sweep_notebook="exp-2", **mine)
    assert latest([*two, again]) == ([two[0], again], 1)
    assert latest([two[0], two[0]]) == ([two[0]], 0)
    copies = [record_at(tmp_path / f"seed-{n}.ipynb", sweep_notebook="n", **mine) for n in (0, 1)]
    assert latest(copies) == (copies, 0)


def test_a_store_that_does_not_answer_is_named_and_nothing_is_written_there(notebook, monkeypatch):
    class Far:
        def read(self, path):
            raise ConnectionError("no route")

        def write(self, text, path):
            assert path.endswith(".sweep.json")

    monkeypatch.setattr(papermill_io, "_handlers", [("far://", Far())])
    with pytest.raises(RunError, match=r"far://a/x=1/n\.ipynb"):
        prepare(notebook, {"grid": {"x": "1"}}, "far://a")


def test_a_sweep_that_was_planned_before_another_ended_overwrites_none_of_its_records(
    notebook, tmp_path, monkeypatch
):
    plan, out = {"grid": {"x": "1,2"}}, tmp_path / "out"
    monkeypatch.chdir(tmp_path)
    early = prepare(notebook, plan, str(out))
    notebook.write_text(notebook.read_text().replace("time.sleep(0.5)", "time.sleep(0.4)"))
    do_what_is_left(notebook, out)
    before = results_in(out)
    assert {outcome.state for _, outcome in carry_out(early, quiet=True)} == {"finished"}
    after = results_in(out)
    assert before.items() < after.items() and len(after) == 4


def test_a_run_with_another_package_than_the_sweeps_is_not_taken_for_one_of_it(
    tmp_path, monkeypatch
):
    own = PARAMETERS + "\ndataset: str = 'MNIST'"
    notebook = small_notebook(tmp_path / "n.ipynb", RECORDED, parameters=own)
    (run,) = prepare(notebook, {"grid": {"x": "1"}}, str(tmp_path)).runs
    before = run.made_from["package"]
    for answers, state in (("", "failed"), ((before, ""), "not stored")):
        answer = iter(answers or ("",))
        monkeypatch.setattr("mnist_nb.tools.runs.work.package_sha256", lambda a=answer: next(a))
        place = str(tmp_path / state / "n.ipynb")
        outcome = do_run(notebook.read_text(), "n", run, place, str(tmp_path))
        assert outcome.state == state and "mnist_nb" in outcome.why and not Path(place).exists()


@pytest.mark.whole  # in one process it is tried in test_lost_work.py
def test_two_sweeps_of_two_processes_do_not_work_in_one_folder(start, notebook, tmp_path):
    first = start("sweep", "n.ipynb", "-g", "x", "20:90", "-o", "out")  # longer than the second
    first.stdout.readline()
    wait_until(lambda: (tmp_path / "out" / ".sweep.lock").exists(), "the first has begun")
    second = start("sweep", "n.ipynb", "-g", "x", "20:90", "-o", "out")
    _, stderr = second.communicate()
    assert second.returncode != 0 and "another sweep is running in" in stderr
    assert first.poll() is None, "and the first one goes on"


# --- killed


@pytest.fixture
def start(tmp_path):
    """A way to start a module's command, and to find all that it started."""
    family = Family(tmp_path)

    def start(*arguments, module="mnist_nb.tools.cli") -> subprocess.Popen:
        def prepare():
            # some shells start what runs in the background deaf to Ctrl-C
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if hasattr(os, "sched_setaffinity"):  # on many cores all runs would be done at once
                os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])

        return family.start("-m", module, *arguments, preexec_fn=prepare)

    start.alive = family.alive
    yield start
    family.end()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_a_sweep_stopped_half_way_goes_on_and_loses_nothing(
    start, notebook, tmp_path, monkeypatch, one_worker, how
):
    sweep = ("sweep", "n.ipynb", "-g", "x", "20:26", "-p", "log", "log", "-o", "out", "--cwd", ".")
    first = start(*sweep)
    wait_until(lambda: len(results_in(tmp_path / "out")) >= 2, "some are finished")
    (os.kill if how == signal.SIGKILL else os.killpg)(first.pid, how)
    if how == signal.SIGINT:  # an impatient person
        assert first.stderr.readline().startswith("stopping")
        os.killpg(first.pid, how)
    _, stderr = first.communicate()
    if how == signal.SIGINT:
        assert first.returncode == 130 and stderr.count("Error: ") == 1, stderr
        assert "interrupted; " in stderr and "give the same command again" in stderr, stderr
        assert "Traceback" not in stderr, stderr
    wait_until(lambda: not start.alive(), "workers and kernels have gone too")
    half = results_in(tmp_path / "out")
    assert 2 <= len(half) < 6 and not list((tmp_path / "out").rglob("*.failed.ipynb"))
    monkeypatch.chdir(tmp_path)
    second = CliRunner().invoke(main, [*sweep, "--scheduler", one_worker.scheduler_address])
    assert second.exit_code == 0, second.stderr
    assert f"{len(half)} finished before, {6 - len(half)} to do" in second.stdout
    whole = results_in(tmp_path / "out")
    assert len(whole) == 6 and half.items() <= whole.items()
    begun = (tmp_path / "log").read_text().split()
    assert all(begun.count(name.split(",")[0][2:]) == 1 for name in half), "run only once"
    for name, content in whole.items():
        x = int(name.split(",")[0][2:])
        assert str(x * 0.1 / (x - 13)) in content.decode()


def test_a_cluster_started_by_hand_does_the_runs_of_a_worker_that_is_killed(
    start, notebook, tmp_path
):
    port = 20_000 + os.getpid() % 20_000
    address = f"tcp://127.0.0.1:{port}"
    start(
        "--host",
        "127.0.0.1",
        "--port",
        port,
        "--no-dashboard",
        module="distributed.cli.dask_scheduler",
    )
    worker = ("--nthreads", "1", "--no-dashboard", "--no-nanny", "--host", "127.0.0.1", address)
    workers = [start(*worker, module="distributed.cli.dask_worker") for _ in range(2)]
    sweep = start("sweep", "n.ipynb", "-g", "x", "20:26", "-p", "log", "log", "-o", "out",
                  "--cwd", ".", "--scheduler", address)  # fmt: skip
    wait_until(lambda: len(results_in(tmp_path / "out")) >= 2, "some are finished")
    workers[0].kill()
    stdout, stderr = sweep.communicate()
    assert sweep.returncode == 0, stderr
    assert "6 of 6 runs are finished" in stdout
    assert len(results_in(tmp_path / "out")) == 6
    begun = (tmp_path / "log").read_text().split()
    assert set(begun) == {str(x) for x in range(20, 26)}
    assert len(begun) <= 8, "only what the killed worker was doing is done again"


# --- read back


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The walkthrough on a slice, three runs by a file, and one of them by papermill alone."""
    folder = tmp_path_factory.mktemp("swept")
    notebook = without_figures(folder)
    plan = {"parameters": {name: int(word) for name, word in SLICE.items()},
            "grid": {"lr": [0.1, 0.2], "seed": "0:2"},
            "exclude": [{"lr": 0.2, "seed": 0}]}  # fmt: skip
    (folder / "sweep.yaml").write_text(yaml.safe_dump(plan))
    (folder / "params.yaml").write_text(yaml.safe_dump({"epochs": 2, "train_size": 640}))
    (folder / "single").mkdir()
    of_papermill = ["-f", "params.yaml", "-y", "{val_size: 160, lr: 0.1, seed: 0}"]

    def on_one_core():  # so that one worker is started
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])

    for prepared, arguments in (
        (on_one_core, ["mnist_nb.tools.cli", "sweep", notebook, "-f", "sweep.yaml", "-o", "out"]),
        (None, ["papermill", notebook, "single/out.ipynb", *of_papermill]),
    ):
        subprocess.run([sys.executable, "-m", *arguments], cwd=folder, check=True,
                       capture_output=True, preexec_fn=prepared)  # fmt: skip
    return folder


def say(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def table(*arguments) -> list[dict]:
    return list(csv.DictReader(io.StringIO(say("results", *arguments, "--csv").stdout)))


def test_the_table_of_a_sweep_is_that_of_the_single_runs_to_the_last_bit(swept):
    numbers = ("train_loss", "val_loss", "val_accuracy")
    rows = {(row["lr"], row["seed"]): row for row in table(swept / "out")}
    assert rows.keys() == {("0.1", "0"), ("0.1", "1"), ("0.2", "1")}
    (path,) = (swept / "single").iterdir()
    row, last = rows["0.1", "0"], read_record(path)["history"][-1]
    assert [float(row[key]) for key in numbers] == [last[key] for key in numbers]


def test_results_show_what_varies_and_group_over_the_rest(swept):
    shown = say("results", swept / "out").stdout
    header = shown.splitlines()[0].split()
    assert header[:3] == ["run", "lr", "seed"] and "train_loss" in header
    assert "same in all runs: " in shown and "epochs=2" in shown
    rows = table(swept / "out")
    grouped = table(swept / "out", "--by", "lr")
    assert [(row["lr"], row["runs"]) for row in grouped] == [("0.1", "2"), ("0.2", "1")]
    a, b = (float(row["val_loss"]) for row in rows if row["lr"] == "0.1")
    assert float(grouped[0]["val_loss_mean"]) == pytest.approx((a + b) / 2)
    assert float(grouped[0]["val_loss_std"]) == pytest.approx(abs(a - b) / 2**0.5)
    assert "<table" in say("results", swept / "out", "--html").stdout
    assert len(json.loads(say("results", swept / "out", "--by", "lr", "--json").stdout)) == 2
    assert "'width' is not in these records" in say("results", swept, "--by", "width").stderr


def test_compare_says_what_differs_and_where_the_numbers_part(swept, tmp_path):
    (single,) = (swept / "single").iterdir()
    same = next((swept / "out").glob("lr=0.1,seed=0*/*.ipynb"))
    equal = "the numbers are identical in 2 epochs"
    done = say("compare", same, shutil.copy(same, tmp_path))
    assert done.stdout == f"{equal}\n", done.stdout
    *more, last = say("compare", same, single).stdout.splitlines()
    assert last == equal and all(line.startswith("machine: ") for line in more), more
    assert say("compare", same.parent, single.parent).stdout.splitlines() == [*more, last]
    done = say("compare", swept / "out", single)
    assert done.exit_code == 1 and "has 3 records; name one of them" in done.stderr
    other = next((swept / "out").glob("lr=0.2,seed=1*/*.ipynb"))
    lines = say("compare", same, other).stdout.splitlines()
    assert lines[:2] == ["parameters: lr: 0.1 | 0.2", "parameters: seed: 0 | 1"]
    assert lines[-1].startswith("the numbers differ from epoch 1: train_loss ")
    done = say("compare", single, "nowhere.ipynb")
    assert done.exit_code != 0 and done.stderr == "Error: nowhere.ipynb: is not a file\n"


def test_papermills_own_files_of_parameters_work(swept):
    same = next((swept / "out").glob("lr=0.1,seed=0*/*.ipynb"))
    (single,) = (swept / "single").iterdir()
    assert read_record(single)["history"] == read_record(same)["history"]
    assert read_record(single)["parameters"] == read_record(same)["parameters"]


@pytest.mark.whole  # what papermill makes of it alone is compared above
def test_a_single_run_of_the_command_is_that_of_the_sweep_to_the_last_bit(
    swept, command, tmp_path
):
    values = SLICE | {"lr": 0.1, "seed": 0}
    assert command("run", *words(values), "-o", "single").returncode == 0
    (single,) = (tmp_path / "single").glob("*.ipynb")
    same = next((swept / "out").glob("lr=0.1,seed=0*/*.ipynb"))
    assert read_record(single)["history"] == read_record(same)["history"]


# --- the experiments of chapter 08


def test_the_committed_table_has_a_row_for_each_run_that_the_files_describe_and_no_other():
    notebook = nbformat.read(WALKTHROUGH, as_version=4)
    defaults = {name: d.default for name, d in declared_parameters(notebook).items()}
    table = pd.read_csv(PROJECT / "studies" / "experiments.csv", comment="#")
    described = []
    for path in sorted((PROJECT / "studies" / "experiments").glob("*.yaml")):
        for run in checked_runs(notebook, expand(read_plan(path))):
            described.append({"experiment": path.stem} | defaults | run.values)
    columns = ["experiment", *table.columns.intersection(list(defaults))]
    assert table[columns].to_dict("records") == [{n: r[n] for n in columns} for r in described]
    assert table["val_accuracy"].between(0, 1).all() and len(table) >= 200


# --- from inside


def test_nobody_without_its_keys_can_give_the_local_cluster_work_and_it_keeps_no_profiles():
    with cluster(None) as client:
        for does in client.run(lambda dask_worker: [*dask_worker.periodic_callbacks]).values():
            assert "heartbeat" in does and "profile" not in does, "its memory grows with time"
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        assert client.submit(abs, -1).result() == 1
        page = client.scheduler_info()["services"]["dashboard"]
        for path in ("health", "info/main/workers.html", "api/v1/get_workers"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{page}/{path}", timeout=60)
        for stranger in (address, address.replace("tls", "tcp")):
            with pytest.raises(SweepError, match="no Dask scheduler answers"), cluster(stranger):
                pass


@pytest.mark.parametrize("address", ["127.0.0.1:9", "tls://127.0.0.1:9", "nowhere://", "tcp://"])
def test_an_address_where_no_scheduler_answers_leaves_no_client_behind(address, monkeypatch):
    monkeypatch.setattr("mnist_nb.tools.runs.cluster.CONNECT_TIMEOUT", 1)
    with pytest.raises(SweepError, match="no Dask scheduler answers"), cluster(address):
        pass
    clients = [it for it in gc.get_objects() if type(it) is distributed.Client]
    assert {client.status for client in clients} <= {"closed"}


def test_a_run_that_another_worker_has_finished_is_not_done_again(notebook, tmp_path):
    (run,) = checked_runs(nbformat.read(notebook, as_version=4), [{"log": str(tmp_path / "log")}])
    place = place_of(str(tmp_path / "out"), run, "n").path
    outcomes = [do_run(notebook.read_text(), "n", run, place, str(tmp_path)) for _ in range(2)]
    assert outcomes[0].state == "finished" and Path(place).is_file()
    assert outcomes[1].seconds == pytest.approx(outcomes[0].seconds, abs=0.001)
    assert (tmp_path / "log").read_text() == "1\n"


@pytest.mark.parametrize(
    ("source", "state"),
    [("1 / 1", "finished"), ("1 / 0", "failed"), ("import os; os.kill(os.getpid(), 9)", "failed")],
    ids=["finished", "failed", "kernel killed"],
)
def test_a_run_leaves_no_event_loop_to_the_garbage_collector(tmp_path, source, state):
    notebook = small_notebook(tmp_path / "n.ipynb", source, parameters=PARAMETERS)
    (run,) = checked_runs(nbformat.read(notebook, as_version=4), [{}])
    place = place_of(str(tmp_path / "out"), run, "n").path
    before = open_loops()
    with ThreadPoolExecutor(1) as thread:  # as a worker has it
        done = thread.submit(do_run, notebook.read_text(), "n", run, place, str(tmp_path))
        assert done.result().state == state
        assert [loop for loop in open_loops() if loop not in before] == []


def test_results_go_to_any_place_that_papermill_can_write(notebook, monkeypatch):
    shelf = {}

    class Shelf:
        def write(self, text, place):
            shelf[place] = text

        def read(self, place):
            return shelf[place]

    handlers = [*papermill_io._handlers, ("shelf://", Shelf())]
    monkeypatch.setattr(papermill_io, "_handlers", handlers)
    text = notebook.read_text()
    runs = checked_runs(nbformat.reads(text, as_version=4), [{"x": "2"}, {"x": "13"}])
    states = [
        do_run(text, "n", run, place_of("shelf://a/", run, "n").path, ".").state for run in runs
    ]
    assert states == ["finished", "failed"]
    assert sorted(shelf) == ["shelf://a/x=13/n.failed.ipynb", "shelf://a/x=2/n.ipynb"]
    whole = "".join(nbformat.reads(shelf["shelf://a/x=2/n.ipynb"], 4).cells[1].source)
    assert "x = 2" in whole
    assert seconds_taken("shelf://a/x=2/n.ipynb", runs[0].key) > 0
    assert seconds_taken("shelf://a/x=2/n.ipynb", runs[1].key) is None
