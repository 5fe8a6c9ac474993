"""A cluster's workers are compared with this machine before the first run."""

import gc
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import distributed
import pytest
from click.testing import CliRunner
from conftest import WALKTHROUGH, small_notebook

from mnist_nb import parameters
from mnist_nb.errors import ParameterError
from mnist_nb.tools.cli import main
from mnist_nb.tools.runs import code, workers
from mnist_nb.tools.runs.identity import package_sha256
from mnist_nb.tools.runs.plans import SweepError
from mnist_nb.tools.runs.progress import Progress
from mnist_nb.tools.runs.sweep import prepare
from mnist_nb.tools.runs.workers import check_environments, check_rows

CARD = {"parameters": {"device": "cuda"}, "grid": {"seed": "0:3"}}


def test_workers_with_another_torch_are_named_before_anything_runs(
    tmp_path, monkeypatch, one_worker
):
    monkeypatch.chdir(tmp_path)
    small_notebook(tmp_path / "n.ipynb", "print(x)", parameters="x: int = 1")
    here = workers.environment()
    answers = iter([here, here | {"torch": "1.0", "python": "2.7"}])
    monkeypatch.setattr(workers, "environment", lambda: next(answers))
    done = CliRunner().invoke(
        main, ["sweep", "n.ipynb", "--scheduler", one_worker.scheduler_address]
    )
    assert done.exit_code == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "1 of 1 workers have a different environment" in done.stderr
    assert f"has python 2.7 (here {here['python']}), torch 1.0 (here" in done.stderr
    assert not list(tmp_path.rglob("out*/*"))


def test_builds_of_one_version_are_the_same_environment(monkeypatch, one_worker):
    version = {"torch": iter(["2.14.1", "2.14.1+cpu"])}
    monkeypatch.setattr(
        "importlib.metadata.version", lambda name: next(version.get(name, iter(["1"])))
    )
    with distributed.Client(one_worker) as client:
        check_environments(client)
    assert next(version["torch"], None) is None, "both were asked"


def test_for_a_cluster_the_workers_and_not_this_machine_are_asked_for_a_card(
    tmp_path, monkeypatch, one_worker
):
    monkeypatch.setattr(parameters, "_devices", lambda: ["cpu"])
    with pytest.raises(ParameterError, match="torch cannot use one on this machine"):
        prepare(WALKTHROUGH, CARD, str(tmp_path))
    sweep = prepare(WALKTHROUGH, CARD, str(tmp_path), elsewhere=True)
    assert len(sweep.left) == 3
    with distributed.Client(one_worker) as client:
        with pytest.raises(SweepError, match=r"1 of 1 workers cannot do .*torch cannot use one"):
            check_rows(client, sweep.notebook, sweep.left)
        monkeypatch.setattr(parameters, "_devices", lambda: ["cuda", "cpu"])
        check_rows(client, sweep.notebook, sweep.left)


def test_each_value_of_a_parameter_is_asked_for_once_and_not_each_run():
    rows = [{"a": a, "b": b} for a in range(100) for b in range(100)]
    asked = list(workers._each_value_once(iter(rows)))
    assert len(asked) == 199 and {row["a"] for row in asked} == set(range(100))


def test_the_runs_of_a_worker_with_several_threads_read_the_package_at_the_same_time():
    pause = lambda *_: time.sleep(0)  # noqa: E731, as Dask's callback lets other threads go on
    gc.callbacks.append(pause)
    try:
        for _ in range(5):
            code.bare.cache_clear()
            code._parsed.cache_clear()
            with ThreadPoolExecutor(4) as pool:
                assert len(set(pool.map(_package_from_below, range(4)))) == 1
    finally:
        gc.callbacks.remove(pause)


def _package_from_below(depth: int) -> str:
    return _package_from_below(depth - 1) if depth else package_sha256()


def test_the_address_of_a_dashboard_that_answers_is_said(tmp_path, capsys):
    (tmp_path / "status").touch()
    progress = Progress(1)
    for place in (tmp_path / "status", tmp_path / "nowhere"):
        progress.note_dashboard(SimpleNamespace(dashboard_link=place.as_uri()))
    progress.close()
    assert capsys.readouterr().err == f"Dask's dashboard: {tmp_path.as_uri()}/status\n"
