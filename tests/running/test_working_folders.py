"""A run has a working folder of its own, and what it writes there is kept beside its record."""

import sys
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from conftest import small_notebook

from mnist_nb.tools import kernels
from mnist_nb.tools.cli import main
from mnist_nb.tools.runs import run as one_run
from mnist_nb.tools.runs.folders import hint, warn_of_paths
from mnist_nb.tools.runs.sweep import prepare
from mnist_nb.tools.runs.work import AS_USUAL, How, do_run

WORK = sys.modules[do_run.__module__]


def fake_execute(notebook, output, values, quiet, folder=None, **more):
    """What papermill does, without a kernel: x is 13 in a run that fails, 0 in one that writes
    nothing."""
    read = nbformat.read(notebook, as_version=4)
    nbformat.write(read, output)
    there = sorted(path.name for path in Path(folder).iterdir())
    Path(folder, "empty", "emptier").mkdir(parents=True, exist_ok=True)
    if values.get("x") != 0:
        Path(folder, "model.pt").write_text(f"{values.get('x', 1)}, {there}")
    if values.get("x") == 13:
        raise one_run.RunError("cell In [2] failed: ZeroDivisionError: x")


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """A notebook whose runs take no time here."""
    monkeypatch.setattr(WORK, "execute", fake_execute)
    monkeypatch.setattr(one_run, "execute", fake_execute)
    monkeypatch.chdir(tmp_path)
    return small_notebook(tmp_path / "n.ipynb", "print(x)", parameters="x: int = 1")


def swept(notebook: Path, xs: str, how: How = AS_USUAL, out: str = "out") -> list:
    """Do the runs of a sweep in this process; return their outcomes."""
    sweep = prepare(notebook, {"grid": {"x": xs}}, out)
    places = [(run, sweep.places[run.name].path) for run in sweep.left]
    return [do_run(notebook.read_text(), "n", run, at, ".", how=how) for run, at in places]


def files_in(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*.pt")}


def test_a_run_works_beside_its_record_and_finds_the_modules_where_it_was_started(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    kernels.use()  # a launcher with torch, unless this process has one already
    (tmp_path / "beside.py").write_text("y = 5")
    cell = "import beside, os\nopen('model.pt', 'w').write(str(x * beside.y))\nprint(os.getcwd())"
    small_notebook(tmp_path / "n.ipynb", cell, parameters="x: int = 1")
    done = CliRunner().invoke(main, ["run", "n.ipynb", "-p", "x", "3"])
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path}/runs/n.x=3\n")
    assert done.stdout.endswith("The files that it wrote: runs/n.x=3\n")
    assert files_in(tmp_path) == {"runs/n.x=3/model.pt": "15"}
    assert (tmp_path / "runs" / "n.x=3.ipynb").is_file()


def test_the_runs_of_a_sweep_keep_a_file_of_one_name_each_and_no_empty_folder(notebook, tmp_path):
    assert [outcome.state for outcome in swept(notebook, "0,1,2")] == ["finished"] * 3
    assert files_in(tmp_path) == {f"out/x={x}/n/model.pt": f"{x}, []" for x in (1, 2)}
    assert [path.name for path in (tmp_path / "out" / "x=0").iterdir()] == ["n.ipynb"]


def test_the_files_of_a_failed_run_stay_with_its_notebook_and_the_next_try_starts_empty(
    notebook, tmp_path, monkeypatch
):
    for _ in range(2):
        assert [outcome.state for outcome in swept(notebook, "13")] == ["failed"]
        assert files_in(tmp_path) == {"out/x=13/n.failed/model.pt": "13, []"}
    killed = tmp_path / "out" / "x=13" / "n"
    killed.mkdir()
    (killed / "half.pt").touch()
    monkeypatch.setattr(
        WORK, "execute", lambda *a, **k: fake_execute(*a[:2], {"x": 1}, *a[3:], **k)
    )
    assert [outcome.state for outcome in swept(notebook, "13")] == ["finished"]
    assert files_in(tmp_path) == {"out/x=13/n/model.pt": "1, []"}


def test_a_second_run_has_a_second_folder_and_nobody_elses_folder_is_touched(notebook, tmp_path):
    (tmp_path / "runs" / "n").mkdir(parents=True)
    (tmp_path / "runs" / "n" / "mine.pt").write_text("mine")
    for _ in range(2):
        assert CliRunner().invoke(main, ["run", "n.ipynb"]).exit_code == 0
    assert CliRunner().invoke(main, ["run", "n.ipynb", "-p", "x", "13"]).exit_code == 1
    found = files_in(tmp_path / "runs")
    assert found.pop("n/mine.pt") == "mine"
    assert found == {"n-2/model.pt": "1, []", "n-3/model.pt": "1, []",
                     "n.x=13.failed/model.pt": "13, []"}  # fmt: skip
    assert (tmp_path / "runs" / "n-3.ipynb").exists()


def test_with_cwd_a_run_works_where_it_is_told_to_and_has_no_folder(notebook, tmp_path):
    swept(notebook, "1", How(cwd=str(tmp_path)))
    assert CliRunner().invoke(main, ["run", "n.ipynb", "--cwd", "."]).exit_code == 0
    assert files_in(tmp_path).keys() == {"model.pt"}
    for what in ("run", "sweep"):
        done = CliRunner().invoke(main, [what, "n.ipynb", "--cwd", "nowhere"])
        assert "there is no folder nowhere to run in; correct --cwd" in done.stderr
    (outcome,) = swept(notebook, "5", How(cwd="/nowhere"))
    assert outcome.state == "failed" and "has no folder /nowhere" in outcome.why


def test_files_that_an_address_does_not_take_are_named(notebook, monkeypatch):
    monkeypatch.setattr(WORK, "_write", lambda *_: None)
    monkeypatch.setattr(WORK, "seconds_taken", lambda *_: None)
    sweep = prepare(notebook, {}, "out")
    for values, why in (({"x": 0}, ""), ({"x": 1}, "the files that it wrote are not kept, as ")):
        (run,) = sweep.runs
        run = run._replace(values=values)
        outcome = do_run(notebook.read_text(), "n", run, "shelf://a/n.ipynb", ".")
        assert (
            outcome.state == "finished"
            and outcome.why.startswith(why)
            and bool(why) == bool(outcome.why)
        )


def test_a_value_that_may_be_a_path_from_here_is_named_once(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    rows = [{"data_dir": "data", "x": x, "dataset": "MNIST", "to": str(tmp_path)} for x in (1, 2)]
    warn_of_paths(rows)
    (said,) = caplog.messages
    assert said.startswith("data_dir is 'data', ")


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("FileNotFoundError: [Errno 2] No such file or directory: 'data/a b.csv'", "data/a b.csv"),
        ("FileNotFoundError: table.txt not found.", "table.txt"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'other.csv'", ""),
        ("ValueError: 'table.txt' is too long", ""),
    ],
)
def test_a_file_that_is_missing_only_in_the_runs_folder_is_said_to_be_where_it_is(
    tmp_path, said, name
):
    (tmp_path / "data").mkdir()
    for path in ("data/a b.csv", "table.txt"):
        (tmp_path / path).touch()
    assert hint(said, str(tmp_path)).startswith(f"; {name} is in {tmp_path}: " if name else "")
    assert bool(hint(said, str(tmp_path))) == bool(name)
