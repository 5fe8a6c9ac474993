"""Runs that are ended, tried again, counted and watched: limits, retries, jobs, what they say."""

import asyncio
import io
import json
import sys
from pathlib import Path

import distributed
import nbformat
import psutil
import pytest
from click.testing import CliRunner
from conftest import small_notebook

from mnist_nb.tools import kernels
from mnist_nb.tools.cli import main
from mnist_nb.tools.runs import run as one_run
from mnist_nb.tools.runs import watch
from mnist_nb.tools.runs.cluster import cluster
from mnist_nb.tools.runs.progress import Progress
from mnist_nb.tools.runs.sweep import carry_out, prepare
from mnist_nb.tools.runs.watch import Watch
from mnist_nb.tools.runs.work import Outcome, do_run

WORK = sys.modules[do_run.__module__]


def printed(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.output_type == "stream")


@pytest.mark.parametrize(
    ("cell", "seconds", "why"),
    [
        ("while True:\n    print('y' * 99)", None, "the run printed more than 0.01 MB"),
        ("import time\nprint('y', flush=True)\ntime.sleep(99)", 2, "the run took more than 2 s"),
    ],
    ids=["output", "time"],
)
def test_a_run_without_an_end_is_ended_in_a_sentence_and_what_it_printed_is_kept(
    tmp_path, monkeypatch, cell, seconds, why
):
    monkeypatch.setattr(watch, "MAX_OUTPUT", 10_000)
    kernels.use()
    small_notebook(tmp_path / "n.ipynb", "print('first')", cell, "print('never')")
    with pytest.raises(one_run.RunError, match=rf"^cell In \[2\] was ended: {why}; the notebook"):
        one_run.run(tmp_path / "n.ipynb", {}, tmp_path, quiet=True, seconds=seconds)
    kept = printed(tmp_path / "n.failed.ipynb")
    assert kept.startswith("first\ny") and len(kept) <= 10_000 and "never" not in kept
    assert len(kept) == 10_000 or seconds


def test_what_a_cell_has_cleared_does_not_count():
    one = Watch()
    for _ in range(3):
        one.shorten("display_data", {"data": {"text/html": "y" * (watch.MAX_OUTPUT - 9)}}, 0)
        one.shorten("clear_output", {}, 0)
    one.shorten("stream", {"text": "y"}, 1)
    assert not one.ended
    one.shorten("display_data", much := {"data": {"text/html": "y" * watch.MAX_OUTPUT}}, 2)
    assert one.ended and much["data"] == {}


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return small_notebook(tmp_path / "n.ipynb", "print(x)", parameters="x: int = 1")


@pytest.mark.parametrize("retries", [1, 2])
def test_a_run_that_fails_is_tried_again_as_often_as_asked(
    notebook, one_worker, monkeypatch, retries, capsys
):
    tries = []

    def execute(notebook, output, values, quiet, **more):
        Path(output).write_text(Path(notebook).read_text())
        tries.append(values)
        if len(tries) <= 2:
            raise one_run.RunError("cell In [2] failed: ConnectionError: busy")

    monkeypatch.setattr(WORK, "execute", execute)
    sweep = prepare(notebook, {}, "out")
    ((_, outcome),) = carry_out(sweep, one_worker.scheduler_address, retries=retries)
    assert len(tries) == retries + 1
    assert outcome.state == ("finished" if retries == 2 else "failed")
    assert capsys.readouterr().err.count("ConnectionError: busy") == 2
    assert len(list(Path("out").rglob("n*.ipynb"))) == 1, "no failed one beside a finished one"


def test_jobs_are_the_workers_of_this_machine_and_not_of_a_cluster(notebook, monkeypatch):
    class Begun(Exception):
        pass

    def begin(n_workers, **_):
        raise Begun(n_workers)

    monkeypatch.setattr(distributed, "LocalCluster", begin)
    monkeypatch.setattr("mnist_nb.tools.runs.cluster.cores", lambda: 4)
    for jobs, workers in ((None, 4), (3, 3), (6, 6), (20, 9)):
        with pytest.raises(Begun, match=f"^{workers}$"), cluster(None, jobs, runs=9):
            pass
    both = ["sweep", "n.ipynb", "--jobs", "2", "--scheduler", "tcp://127.0.0.1:9"]
    done = CliRunner().invoke(main, both)
    assert done.exit_code == 2 and "leave out --jobs or --scheduler" in done.stderr


def test_the_runs_of_a_sweep_are_spread_over_the_cards_of_this_machine(tmp_path, monkeypatch):
    source = "import os, time\nprint(os.environ['CUDA_VISIBLE_DEVICES'])\ntime.sleep(0.5)"
    small_notebook(tmp_path / "n.ipynb", source, "_ = x", parameters="x: int = 1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    asked = ["sweep", "n.ipynb", "-g", "x", "1:5", "--per-gpu", "1"]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 2 and "there is none here" in done.stderr
    done = CliRunner().invoke(main, [*asked, "--jobs", "2"])
    assert done.exit_code == 2 and "leave out one of them" in done.stderr
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-5")
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0, done.output
    printed = [json.loads(p.read_text())["cells"][-2]["outputs"][0]["text"]
               for p in tmp_path.rglob("runs/*/n.ipynb")]  # fmt: skip
    assert len(printed) == 4 and {"".join(text) for text in printed} == {"3\n", "GPU-5\n"}


def test_ctrl_c_ends_the_runs_on_a_cluster_too_and_keeps_what_they_have(
    tmp_path, one_worker, monkeypatch
):
    begun = tmp_path / "pid"
    write = f"open({str(begun)!r}, 'w').write(f'{{os.getpid()}} ')"
    source = f"import os, time\n{write}\ntime.sleep(99 * x)"
    notebook = small_notebook(tmp_path / "n.ipynb", source, parameters="x: int = 1")

    def running(*_):
        if begun.exists() and begun.read_text().endswith(" "):
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "running", running)
    sweep = prepare(notebook, {"grid": {"x": "1,2"}}, str(tmp_path / "out"))
    said = r"interrupted; 0 of 2 runs had ended.* in \S*/x=1/n\.interrupted\.ipynb;"
    with pytest.raises(KeyboardInterrupt, match=said):
        list(carry_out(sweep, one_worker.scheduler_address, quiet=True))
    assert not psutil.pid_exists(int(begun.read_text()))
    left = [path.relative_to(tmp_path / "out") for path in (tmp_path / "out").glob("x=*/*")]
    assert list(map(str, left)) == ["x=1/n.interrupted.ipynb"]


def test_what_a_run_prints_last_reaches_the_progress_of_the_sweep(
    notebook, one_worker, monkeypatch
):
    said = []

    def execute(notebook, output, values, quiet, watch, **more):
        Path(output).write_text(Path(notebook).read_text())
        watch.said("epoch 1")

    class Live(Progress):
        def __init__(self, *_):
            super().__init__(1, quiet=True)
            self.live = True

        def said(self, *words):
            said.append(words)

        running = note_dashboard = lambda *_: None

    monkeypatch.setattr(WORK, "execute", execute)
    monkeypatch.setattr("mnist_nb.tools.runs.sweep.Progress", Live)
    list(carry_out(prepare(notebook, {}, "out"), one_worker.scheduler_address))
    assert said == [("defaults", "epoch 1")]


def test_of_many_lines_in_a_moment_the_last_is_passed_on(monkeypatch):
    said = []
    monkeypatch.setattr(watch, "PAUSE", 0.01)

    async def print_much():
        one = Watch(said=said.append)
        for text in ("1%\r", "2%\r  3%\n\n", "\n"):
            one.pass_on(text)
        await asyncio.sleep(0.1)

    asyncio.run(print_much())
    assert said == ["3%"]


class Terminal(io.StringIO):
    isatty = lambda self: True  # noqa: E731


def test_on_a_terminal_a_running_run_has_a_line_until_it_ends(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    progress = Progress(2)
    assert progress.live

    def shown() -> str:
        sys.stderr.truncate(0)
        progress.running(1)
        return sys.stderr.getvalue()

    progress.said("x=1", "epoch 1\x1b[2J")
    assert "x=1: epoch 1 [2J" in shown(), "no run moves the cursor"
    progress.ended("x=1", Outcome("finished", 1.0))
    progress.said("x=1", "late")
    assert "x=1" not in shown()
    progress.close()
