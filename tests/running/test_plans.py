"""Plans of sweeps: read as they are meant, counted before they are made, or refused."""

import subprocess
import sys

import nbformat
import pytest
from click.testing import CliRunner
from conftest import WALKTHROUGH, small_notebook

from mnist_nb.errors import ParameterError
from mnist_nb.tools.cli import main
from mnist_nb.tools.runs.declared import declared_parameters, read_values, word_reader
from mnist_nb.tools.runs.identity import checked_runs
from mnist_nb.tools.runs.plans import MAX_RUNS, SweepError, count, expand, read_plan, values_of
from mnist_nb.tools.runs.run import read_notebook
from mnist_nb.tools.runs.sweep import prepare

NOTEBOOK = nbformat.read(WALKTHROUGH, as_version=4)
TAGGED, INJECTED = {"tags": ["parameters"]}, {"tags": ["injected-parameters"]}


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """Run a command that must be refused; the one sentence that says why."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, **options):
        done = CliRunner().invoke(main, [str(argument) for argument in arguments], **options)
        assert done.exit_code not in (0, None) and isinstance(done.exception, SystemExit), done
        assert done.stderr.count("Error: ") == 1 and done.stderr.count("\n") == 1, done.stderr
        assert not list(tmp_path.rglob("*.ipynb")), "nothing was run"
        return done.stderr

    return run


# --- magics in the cell of parameters

MAGICS = {
    "a line magic": ("%matplotlib inline\nlr: float = 0.1", 0.1),
    "a question": ("lr = 0.1\nlr?", 0.1),
    "a command": ("!echo lr = 0.5\nlr = 0.1", 0.1),
    "a timed cell": ("%%time\nlr = 0.1", 0.1),
    "a timed cell below a blank line": ("\n%%time\nlr = 0.1", 0.1),
    "a magic that is assigned": ("%env\nwhere = %pwd\nlr = 0.1", 0.1),
}


@pytest.mark.parametrize("cell", MAGICS)
def test_magics_in_the_cell_of_parameters_hide_none_of_them(tmp_path, cell):
    source, default = MAGICS[cell]
    path = small_notebook(tmp_path / "n.ipynb", "print(lr)", parameters=source)
    notebook = read_notebook(path)
    assert declared_parameters(notebook)["lr"].default == default
    assert read_values(notebook, {"lr": "0.5"}) == {"lr": 0.5} and read_values(notebook, {}) == {}


def test_a_notebook_with_magics_in_its_cell_of_parameters_runs_with_others(tmp_path, monkeypatch):
    magics = "%matplotlib inline\n!echo shown\nlr: float = 0.1\nlr?"
    path = small_notebook(tmp_path / "n.ipynb", "print('lr is', lr)", parameters=magics)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["run", str(path), "-p", "lr", "0.5"])
    assert done.exit_code == 0 and "shown" in done.stdout, done.stderr
    assert "lr is 0.5" in done.stdout


def test_a_cell_of_parameters_that_is_no_python_is_one_sentence(tmp_path, refused):
    path = small_notebook(tmp_path / "n.txt", "print(lr)", parameters="lr <- 0.1 else")
    for arguments in (["run"], ["run", "-p", "lr", "1"], ["sweep"], ["sweep", "-g", "lr", "1,2"]):
        assert "'parameters' is not Python" in refused(*arguments, path)


# --- what is excluded


def rows(**plan):
    return expand(plan, word_reader(NOTEBOOK))


def test_exclude_compares_values_and_not_the_words_for_them():
    for word in ("0.1", "0.10", "1e-1", " 0.1"):
        for value in (word_reader(NOTEBOOK), None):
            plan = {"grid": {"lr": ["1e-1", "0.5"]}, "exclude": [{"lr": word}]}
            assert expand(plan, *[value] * bool(value)) == [{"lr": "0.5"}]
    grid = {"shuffle": ["True", "False"], "seed": "0:2"}
    assert rows(grid=grid, exclude=[{"shuffle": "true", "seed": "01"}]) == [
        {"shuffle": "True", "seed": "0"},
        {"shuffle": "False", "seed": "0"},
        {"shuffle": "False", "seed": "1"},
    ]
    kept = rows(runs=[{"data_dir": "01"}, {"data_dir": "1"}], exclude=[{"data_dir": "1"}])
    assert kept == [{"data_dir": "01"}], "what is a text is compared as a text"


@pytest.mark.parametrize(
    ("exclude", "says"),
    [
        ([{"lrr": "0.1"}], "did you mean 'lr'?"),
        ([{"epochs": "5"}], "names are lr, seed"),
        ([{"lr": "0.11"}], "exclude: {lr: 0.11} matches no run"),
        ([{"lr": "0.1"}, {"lr": "0.1", "seed": "2"}], "exclude: {lr: 0.1, seed: 2} matches no"),
        ([{"lr": "fast"}], "lr is 'fast'; it takes a number"),
        ({"lr": "0.1"}, "exclude takes a list of lines like `- {lr: 0.1}`, not"),
    ],
    ids=str,
)
def test_what_excludes_nothing_is_refused_in_a_sentence(exclude, says, tmp_path):
    plan = {"grid": {"lr": ["0.1", "0.5"], "seed": "0:2"}, "exclude": exclude}
    with pytest.raises((SweepError, ParameterError)) as caught:
        prepare(WALKTHROUGH, plan, str(tmp_path))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_entries_that_exclude_the_same_run_all_count():
    exclude = [{"lr": "0.1"}, {"lr": "0.1", "seed": "1"}, {"seed": "1"}]
    grid = {"lr": ["0.1", "0.5"], "seed": "0:2"}
    assert rows(grid=grid, exclude=exclude) == [{"lr": "0.5", "seed": "0"}]


# --- given once


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("grid: {lr: [0.1]}\ngrid: {seed: [1]}", "'grid' is given twice (line 2)"),
        ("grid:\n  lr: [0.1]\n  seed: [1]\n  lr: [1]", "'lr' is given twice (line 4)"),
        ("runs:\n- {lr: 0.1, seed: 1, lr: 1}", "'lr' is given twice (line 2)"),
        ("grid: {lr: [1], lr: [1]}", "'lr' is given twice (line 1)"),
        ("exclude: {lr: 0.1}", "exclude takes a list of lines like `- {lr: 0.1}`, not"),
        ("runs: {lr: 0.1}", "runs takes a list"),
        ("grid: {[a]: 1}", "cannot be read"),
        ("[" * 3000, "cannot be read"),
    ],
    ids=range(8),
)
def test_a_file_that_contradicts_itself_is_refused_in_a_sentence(tmp_path, text, says):
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(SweepError) as caught:
        read_plan(tmp_path / "plan.yaml")
    assert says in str(caught.value) and "plan.yaml" in str(caught.value)


@pytest.mark.parametrize("command", ["run -p", "sweep -p", "sweep -g"])
def test_a_parameter_given_twice_is_refused(refused, command):
    what, how = command.split()
    for second in ("0.2", "0.1"):
        assert "'lr' is given twice" in refused(what, how, "lr", "0.1", how, "lr", second)


# --- large ones


def test_plans_are_counted_without_making_their_runs():
    grid = {"seed": "0:1000", "lr": "1:1001"}
    assert count({"grid": grid}) == MAX_RUNS
    assert count({"grid": {"seed": "3:0:-1"}, "zip": {"lr": "1,2", "hidden": "3,4"}}) == 6
    assert count({"runs": [{}, {}], "include": [{}]}) == 3 and count({}) == 1
    assert count({"runs": [{}], "grid": {"lr": ["1"]}, "exclude": [{"lr": "1"}]}) == 2
    for more in (
        {"dropout": "0,0.1"},
        {"seed": "0:1000000000"},
        {"seed": f"{-(10**17)}:{10**17}"},
    ):
        with pytest.raises(SweepError, match="one sweep takes at most 1,000,000"):
            count({"grid": grid | more})
    assert values_of("0:" + "9" * 5000) == ["0:" + "9" * 5000], "no number that anyone has"


LITTLE = """
import resource, sys
import mnist_nb.tools.runs.sweep, click.testing, nbformat.v4, IPython.core.inputtransformer2
unit = 1 if sys.platform == "darwin" else 1024
limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit + 150_000_000
from mnist_nb.tools.cli import main
for arguments in {commands!r}:
    done = click.testing.CliRunner().invoke(main, arguments)
    print(done.output, done.exception)
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
assert used < limit, used
"""


def test_a_hundred_thousand_runs_are_counted_and_asked_about_and_take_little_memory(tmp_path):
    small_notebook(tmp_path / "n.ipynb", "print(x)", parameters="x: int = 1")
    hundred_thousand = ["sweep", "n.ipynb", "-g", "x", "0:100000"]
    commands = [
        hundred_thousand,
        [*hundred_thousand, "-y", "-p", "y", "1"],
        ["sweep", "n.ipynb", "-g", "x", "0:1000000000", "-y"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", LITTLE.format(commands=commands)],
        cwd=tmp_path, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.stdout.count("100,000 runs") >= 1 and "nothing was run; answer y" in done.stdout
    assert "1,000,000,000 runs" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_a_notebook_is_parsed_once_for_all_runs(monkeypatch):
    import ast

    parsed, parse = [], ast.parse
    monkeypatch.setattr(ast, "parse", lambda source, *more: (parsed.append(1), parse(source))[1])
    plan = {"grid": {"seed": "0:2"}}
    few = len(checked_runs(NOTEBOOK, expand(plan)))
    once = len(parsed)
    parsed.clear()
    many = len(checked_runs(NOTEBOOK, expand({"grid": {"seed": "0:300"}})))
    assert (few, many) == (2, 300) and len(parsed) == once


# --- what a name says is what is run


def test_two_runs_never_share_a_folder(tmp_path):
    path = small_notebook(tmp_path / "n.ipynb", "print(x)", parameters="x = None")
    runs = checked_runs(nbformat.read(path, as_version=4), [{"x": "1"}, {"x": "'1'"}])
    assert [run.values["x"] for run in runs] == [1, "1"]
    assert len({run.name.casefold() for run in runs}) == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda cells: cells.insert(1, nbformat.v4.new_code_cell("x = 2", metadata=TAGGED)),
        lambda cells: cells.insert(0, nbformat.v4.new_markdown_cell("x", metadata=TAGGED)),
        lambda cells: cells.insert(1, nbformat.v4.new_code_cell("x = 2", metadata=INJECTED)),
    ],
    ids=["two cells", "a text", "a result"],
)
def test_a_value_that_another_cell_would_undo_is_refused(tmp_path, spoil):
    path = small_notebook(tmp_path / "n.ipynb", "print(x)", parameters="x: int = 1")
    notebook = nbformat.read(path, as_version=4)
    spoil(notebook.cells)
    with pytest.raises(ParameterError):
        read_values(notebook, {"x": "3"})


def test_no_time_is_estimated_from_names_that_mean_something_else(tmp_path):
    source = "epochs: int = 5\ntrain_size: int | None = None\nbatch_size: int = 0"
    names = "print(epochs, train_size, batch_size)"
    path = small_notebook(tmp_path / "n.ipynb", names, parameters=source)
    assert prepare(path, {"grid": {"epochs": ["1", "2"]}}, str(tmp_path / "out")).seconds is None
