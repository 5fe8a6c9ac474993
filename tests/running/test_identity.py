"""What a run is known by: what it computes. What is done again, and why; what is refused."""

import json
import os
import sys
import time
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from conftest import WALKTHROUGH, small_notebook
from papermill.iorw import papermill_io

from mnist_nb.errors import ParameterError
from mnist_nb.tools.cli import main
from mnist_nb.tools.runs import run as one_run
from mnist_nb.tools.runs.code import code_sha256, modules_sha256
from mnist_nb.tools.runs.given import read_values
from mnist_nb.tools.runs.identity import checked_runs
from mnist_nb.tools.runs.lookup import place_of
from mnist_nb.tools.runs.sweep import prepare
from mnist_nb.tools.runs.work import do_run

PARAMETERS = "x = 1\nlr: float = 0.1\nlog: str = ''"
PLAN = {"grid": {"x": "1,2", "lr": "0.5,1"}}


def fake_execute(notebook, output, values, quiet, **more):
    """What papermill does, without a kernel: x is 13 in a run that fails."""
    nbformat.write(nbformat.read(notebook, as_version=4), output)
    if values.get("x") == 13:
        raise one_run.RunError("cell In [2] failed: ZeroDivisionError: x")


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[do_run.__module__], "execute", fake_execute)
    monkeypatch.setattr(one_run, "_git_commit", lambda: None, raising=False)
    monkeypatch.chdir(tmp_path)
    return small_notebook(tmp_path / "n.ipynb", "print(x * lr, log)", parameters=PARAMETERS)


def swept(notebook: Path, plan: dict = PLAN, out: str = "out", **more) -> tuple[int, set[str]]:
    """Do a sweep in this process; return how many runs were done, and why the old do not count."""
    sweep = prepare(notebook, plan, out, **more)
    for run in sweep.left:
        place = sweep.places[run.name].path
        assert do_run(notebook.read_text(), "n", run, place, ".").state == "finished"
    return len(sweep.left), {place.older for place in sweep.places.values()} - {""}


def rewrite(notebook: Path, *sources: str, parameters: str = PARAMETERS) -> None:
    small_notebook(notebook, *sources, parameters=parameters)


def records() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path("out").rglob("*.ipynb")}


# --- parameters


def test_the_order_in_which_parameters_are_given_makes_no_run_twice(notebook):
    assert swept(notebook)[0] == 4
    before = records()
    assert swept(notebook, {"grid": {"lr": "1,0.5", "x": "2,1"}}) == (0, set())
    assert swept(notebook, {"parameters": {"lr": "0.5"}, "grid": {"x": "1,2"}}) == (0, set())
    assert records() == before


def test_a_default_that_is_given_makes_no_run_twice(notebook):
    assert swept(notebook, {"grid": {"lr": "0.1,0.5"}})[0] == 2
    assert swept(notebook, {"parameters": {"x": "1"}, "grid": {"lr": "0.1,0.5"}}) == (0, set())
    assert swept(notebook, {}) == (0, set())
    assert swept(notebook, {"parameters": {"x": "2"}, "grid": {"lr": "0.1,0.5"}})[0] == 2


def test_values_whose_names_are_alike_are_never_taken_for_each_other(notebook):
    one, text = {"grid": {"x": ["1"]}}, {"grid": {"x": ["'1'"]}}
    rewrite(notebook, "print(x, lr, log)", parameters=PARAMETERS.replace("x = 1", "x = None"))
    for plan in (one, text):
        assert swept(notebook, plan) == (1, set())
    before = records()
    both = {"grid": {"x": ["'1'", "1"]}}
    for plan in (one, text, both):
        assert swept(notebook, plan) == (0, set())
    assert records() == before and len(before) == 2
    assert len({Path(path).parent for path in before}) == 2, "so `results` shows both"


def test_a_changed_default_leaves_the_runs_that_were_given_a_value(notebook):
    assert swept(notebook, {"grid": {"lr": "0.1,0.5"}})[0] == 2
    before = records()
    rewrite(notebook, "print(x * lr, log)", parameters=PARAMETERS.replace("0.1", "0.2"))
    assert swept(notebook, {"grid": {"lr": "0.1,0.5"}}) == (0, set())
    rewrite(notebook, "print(x * lr, log)", parameters=PARAMETERS.replace("x = 1", "x = 2"))
    assert swept(notebook, {"grid": {"lr": "0.1,0.5"}}) == (2, set())
    assert before.items() < records().items()


def test_at_an_address_that_lists_its_files_the_order_does_not_count_either(notebook, monkeypatch):
    class Shelf(dict):
        def write(self, text, place):
            self[place] = text

        read = dict.__getitem__

        def listdir(self, place):
            return {"/".join(path.split("/")[:4]) for path in self}

    monkeypatch.setattr(papermill_io, "_handlers", [("shelf://", shelf := Shelf())])
    assert swept(notebook, out="shelf://a")[0] == 4
    assert swept(notebook, {"grid": {"lr": "1,0.5", "x": "2,1"}}, "shelf://a") == (0, set())
    del Shelf.listdir  # and where it makes no lists, all are done, and none is overwritten
    before = dict(shelf)
    assert swept(notebook, {"grid": {"lr": "1,0.5", "x": "2,1"}}, "shelf://a") == (4, set())
    assert before.items() < shelf.items()


# --- code


SAME = {
    "a comment": ("# why\nif x:  # why\n    y = lr", "print(y)"),
    "blank lines": ("if x:\n\n    y = lr\n\n", "\n\nprint(y)\n"),
    "layout": ("if (x):\n  y=lr", "print( y )"),
    "a cell of comments": ("if x:\n    y = lr", "# nothing\n", "", "print(y)"),
}
OTHER = {
    "a value": ("if x:\n    y = 2 * lr", "print(y)"),
    "an indent": ("if x:\n    y = lr\n    print(y)",),
    "the order": ("print(y)", "if x:\n    y = lr"),
    "a type": ("if x:\n    y = lr", "print(y, 1)"),
    "a text with a hash": ("if x:\n    y = lr", "print(y, '# one')"),
}


def hash_of(*sources: str, **metadata) -> str:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return code_sha256(nbformat.v4.new_notebook(cells=cells, metadata=metadata))


def test_comments_blank_lines_and_layout_change_nothing_and_code_does():
    first = hash_of("if x:\n    y = lr", "print(y)")
    assert {hash_of(*sources) for sources in SAME.values()} == {first}
    others = [hash_of(*sources) for sources in OTHER.values()]
    assert len({first, *others}) == 1 + len(OTHER)


@pytest.mark.parametrize("magic", ["%%time", "%matplotlib inline", "!ls", "%%bash"])
def test_the_code_around_magics_is_told_from_comments_and_what_is_not_python_is_taken_whole(magic):
    first, other = hash_of(f"{magic}\nx = 1"), hash_of(f"{magic}\nx = 2")
    commented = hash_of(f"{magic}\nx = 1  # why")
    assert first != other and (commented == first) == (magic != "%%bash")
    r = {"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}}
    assert hash_of("x <- 1", **r) != hash_of("x < -1", **r)
    assert hash_of("x <- 1") == hash_of("x < -1")


def test_a_comment_runs_nothing_again_and_changed_code_is_named_and_overwrites_nothing(notebook):
    assert swept(notebook)[0] == 4
    before = records()
    rewrite(
        notebook, "# a comment\n\nprint(x * lr,\n      log)", parameters="# what\n" + PARAMETERS
    )
    assert swept(notebook) == (0, set()) and records() == before
    rewrite(notebook, "print(x / lr, log)")
    assert swept(notebook) == (4, {"the code of the notebook has changed"})
    assert before.items() < records().items() and len(records()) == 8
    assert swept(notebook) == (0, set())


def test_the_package_counts_without_its_comments(notebook, tmp_path, monkeypatch):
    rewrite(notebook, "import mnist_nb\nprint(x * lr, log)")
    (tmp_path / "elsewhere").mkdir()
    module = tmp_path / "elsewhere" / "__init__.py"
    monkeypatch.setattr("mnist_nb.__file__", str(module))
    for text, again in (("a = 1", 1), ("# why\n\na = 1", 0), ("a = 2", 1)):
        module.write_text(text)
        done, why = swept(notebook, {})
        assert done == again
    assert why == {"the package mnist_nb has changed"}


# --- modules


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("import helper", "helper.py"),
        ("def f():\n    from helper import a", "helper.py"),
        ("%run helper.py", "helper.py"),
        ("from pack import part", "pack/part.py"),
        ("import pack.part", "pack/__init__.py"),
        ("import via", "helper.py"),
        ("from pack.near import a", "pack/part.py"),
    ],
)
def test_a_changed_module_beside_the_notebook_is_named_and_a_comment_in_it_is_not(
    notebook, tmp_path, monkeypatch, line, path
):
    beside = tmp_path / "beside"
    (beside / "pack").mkdir(parents=True)
    (beside / "via.py").write_text("import helper, json, numpy")
    (beside / "pack" / "near.py").write_text("from . import part\nfrom .. import above")
    for name in ("helper.py", "pack/part.py", "pack/__init__.py", "unused.py"):
        (beside / name).write_text("a = 1")
    notebook = small_notebook(beside / "n.ipynb", f"{line}\nprint(x, lr)", parameters=PARAMETERS)
    changed = beside / path
    name = path if line.startswith("%run") else path.removesuffix("/__init__.py")
    name = name.removesuffix("" if line.startswith("%run") else ".py").replace("/", ".")
    assert swept(notebook, {}) == (1, set())
    (beside / "unused.py").write_text("a = 2")
    changed.write_text("# a comment\na = 1")
    assert swept(notebook, {}) == (0, set())
    changed.write_text("a = 2")
    assert swept(notebook, {}) == (1, {f"the module {name} has changed"})


def test_what_is_installed_or_written_by_the_notebook_is_no_module_of_its_own(tmp_path):
    (tmp_path / "helper.py").write_text("a = 1")
    cells = [
        "%%writefile helper.py\na = 1",
        "import helper, os, numpy, mnist_nb.data\nopen('f.py')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    assert modules_sha256(notebook, [tmp_path]) == {}
    notebook.cells.pop(0)
    assert modules_sha256(notebook, [tmp_path]).keys() == {"helper"}


# --- records of earlier versions, and files in the way


def test_records_of_an_earlier_version_are_found_read_and_kept(notebook):
    assert swept(notebook)[0] == 4
    for path in records():
        old = json.loads(Path(path).read_text())
        del old["metadata"]["mnist_nb"]["sweep_made_from"]
        Path(path).write_text(json.dumps(old))
    before = records()
    done, (why,) = swept(notebook)
    assert done == 4 and why == "its record does not say which code made it"
    after = records()
    assert before.items() < after.items()
    assert after.keys() - before.keys() == {path.replace("n.ip", "n-2.ip") for path in before}
    assert swept(notebook) == (0, set())


def test_a_file_that_appears_while_a_run_is_going_on_is_not_overwritten(notebook, tmp_path):
    (run,) = checked_runs(nbformat.read(notebook, as_version=4), [{}])
    place = place_of("out", run, "n").path

    def execute(*arguments, **more):
        Path(place).write_text("mine")
        fake_execute(*arguments, **more)

    sys.modules[do_run.__module__].execute = execute  # the fixture puts it back
    outcome = do_run(notebook.read_text(), "n", run, place, ".")
    assert outcome.state == "not stored" and "kept as" in outcome.why
    assert Path(place).read_text() == "mine"


# --- the command


def sweep(*arguments):
    return CliRunner().invoke(main, ["sweep", "n.ipynb", "-o", "out", *arguments])


def test_a_dry_run_lists_what_is_finished_to_do_and_done_again_and_touches_nothing(notebook):
    listed = sweep("-g", "x", "1,2", "--dry-run")
    assert listed.exit_code == 0 and not Path("out").exists()
    assert listed.stdout.splitlines()[1:] == ["to do     x=1", "to do     x=2", "nothing was run"]
    swept(notebook, {"grid": {"x": "1,2"}})
    before = records()
    listed = sweep("-g", "x", "2,3", "--dry-run").stdout.splitlines()[1:]
    assert listed == ["finished  x=2: x=2/n.ipynb", "to do     x=3", "nothing was run"]
    rewrite(notebook, "print(x)")
    listed = sweep("-g", "x", "0:200", "--dry-run").stdout
    why = "the code of the notebook has changed"
    assert f"to do again: 2, older records are kept ({why})\nto do     x=0\n" in listed
    assert f"again     x=1: {why}\nagain     x=2: {why}\nto do     x=3\n" in listed
    assert records() == before


def test_a_dry_run_writes_nothing_at_an_address(notebook, monkeypatch):
    class Shelf:
        def read(self, place):
            raise KeyError(place)

    monkeypatch.setattr(papermill_io, "_handlers", [("shelf://", Shelf())])
    done = CliRunner().invoke(main, ["sweep", "n.ipynb", "-o", "shelf://a", "--dry-run"])
    assert done.exit_code == 0 and "to do     defaults" in done.stdout


def test_forced_runs_are_done_again_beside_their_older_records(notebook, one_worker):
    swept(notebook, {"grid": {"x": "1,2"}})
    before = records()
    listed = sweep("-g", "x", "1:4", "--force", "--dry-run").stdout
    assert "again     x=1: --force asks for it" in listed and "to do     x=3" in listed
    address = one_worker.scheduler_address
    done = sweep("-g", "x", "1:4", "--force", "--scheduler", address)
    assert done.exit_code == 0 and "3 of 3 runs are finished" in done.stdout, done.stderr
    after = records()
    assert before.items() < after.items()
    added = {"out/x=1/n-2.ipynb", "out/x=2/n-2.ipynb", "out/x=3/n.ipynb"}
    assert after.keys() - before.keys() == added
    assert sweep("-g", "x", "1:4").stdout.startswith("3 runs of n.ipynb into out: 3 finished")


def test_exit_codes_tell_a_failed_run_from_a_refused_command(notebook, one_worker, monkeypatch):
    address = one_worker.scheduler_address
    assert sweep("-g", "x", "1", "--scheduler", address).exit_code == 0
    assert sweep("-g", "x", "1,13", "--scheduler", address).exit_code == 1
    for refused in (["-g", "y", "1"], ["-g", "x", ","], ["--such", "x"], ["-g", "x", "0:200"],
                    ["-g", "x", "2", "--scheduler", "tcp://"], ["-f", "none.yaml"]):  # fmt: skip
        assert sweep(*refused).exit_code == 2, refused
    monkeypatch.setattr(one_run, "execute", fake_execute)
    for code, *arguments in ((0, "n.ipynb"), (1, "n.ipynb", "-p", "x", "13"),
                             (2, "n.ipynb", "-p", "lr", "fast"), (2, "none.ipynb")):  # fmt: skip
        assert CliRunner().invoke(main, ["run", *arguments]).exit_code == code, arguments
    interrupted = lambda *_, **more: [os.kill(os.getpid(), 2), time.sleep(9)]  # noqa: E731
    monkeypatch.setattr(one_run, "execute", interrupted)
    assert CliRunner().invoke(main, ["run", "n.ipynb"]).exit_code == 130


# --- seeds


def test_a_seed_that_repeats_another_is_refused():
    import torch

    read = nbformat.read(WALKTHROUGH, as_version=4)
    for seed in (-1, 2**64 - 1, -(2**63), 2**32):
        torch.manual_seed(seed)
        drawn = torch.rand(9).tolist()
        torch.manual_seed(seed % 2**32)
        assert drawn == torch.rand(9).tolist(), "its run would be that of another seed"
        with pytest.raises(
            ParameterError, match=f"seed is {seed}; it takes a whole number from 0"
        ):
            read_values(read, {"seed": str(seed)})
    assert read_values(read, {"seed": str(2**32 - 1)}) == {"seed": 2**32 - 1}
