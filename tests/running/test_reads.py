"""A parameter that no cell reads is refused; in doubt it runs with a warning."""

import nbformat
import pytest
from click.testing import CliRunner
from conftest import NOTEBOOKS, small_notebook

from mnist_nb.errors import ParameterError
from mnist_nb.tools.cli import main
from mnist_nb.tools.runs.declared import declared_parameters
from mnist_nb.tools.runs.reads import check_read

READ = {
    "a plain name": "print(lr)",
    "a function": "def train():\n    return lr\nlr = 2",
    "a class": "class C:\n    lr = lr",
    "a default": "def train(lr=lr):\n    return lr",
    "its own new value": "lr = float(lr)",
    "an addition": "lr += 1",
    "an addition in a function": "def f():\n    global lr\n    lr = lr + 1",
    "an index": "x = {}\nx[lr] = 1",
    "one way of two": "if 1:\n    lr = 1\nprint(lr)",
    "a way that may not be gone": "for i in x:\n    lr = 1\nprint(lr)",
    "a default for None": "if lr is None:\n    lr = 1",
    "a loop over it": "for lr in range(lr):\n    pass",
    "an attempt": "try:\n    lr\nexcept NameError:\n    lr = 1",
    "a comprehension": "[lr for i in range(3)]",
    "an f-string": "f'{lr:.3f}'",
    "await": "await f(lr)",
    "a command": "!echo {lr}",
    "a magic": "%timeit f(lr)",
    "a timed cell": "%%time\nprint(lr)",
    "another language": "%%bash\necho $lr",
    "no Python at all": "lr ==> b",
}
WRITTEN = {
    "a new value": "lr = 2\nprint(lr)",
    "a new value in a timed cell": "%%time\nlr = 2\nprint(lr)",
    "a loop": "for lr in range(3):\n    print(lr)",
    "both ways": "if 1:\n    lr = 1\nelse:\n    lr = 2\nprint(lr)",
    "a with": "with f() as lr:\n    print(lr)",
    "one of several": "a, lr = 1, 2\nprint(lr)",
    "an import": "from x import lr\nprint(lr)",
    "a function": "def lr():\n    pass\nlr()",
    "tried": "try:\n    lr = 1\nexcept E:\n    lr = 2\nprint(lr)",
}
UNREAD = {
    "nothing": "print(1)",
    "an argument of this name": "def f(lr):\n    return lr",
    "an attribute": "print(a.lr, f(lr=2))",
    "a local": "def f():\n    lr = 1\n    return lr",
    "a comprehension's own": "[lr for lr in range(3)]",
    "a comment": "print(1)  # lr",
    "vars of an object": "vars(a)",
}
DOUBT = {
    "globals": "for k in d:\n    globals()[k]",
    "a namespace": "a = Namespace(**locals())\nlr = 3",
    "a query": "df.query('loss < @lr')",
    "eval": "eval(code)",
    "a format": "'{lr}'.format(**vars())",
    "the shell's names": "get_ipython().user_ns[k]",
    "a script": "%run -i train.py",
}


def notebook(source: str):
    tags = {"tags": ["parameters"]}
    cells = [nbformat.v4.new_code_cell("lr = 1\nx = lr", metadata=tags)]
    return nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell(source)])


@pytest.mark.parametrize("what", READ)
def test_a_parameter_that_a_cell_reads_is_taken(what, caplog):
    check_read(notebook(READ[what]), ["lr"])
    assert not caplog.messages


@pytest.mark.parametrize("what", WRITTEN)
def test_a_parameter_that_a_cell_sets_anew_is_refused_with_that_line(what):
    with pytest.raises(ParameterError, match="sets it anew before any cell reads it") as caught:
        check_read(notebook(WRITTEN[what]), ["lr"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", UNREAD)
def test_a_parameter_that_no_cell_reads_is_refused(what):
    with pytest.raises(ParameterError, match="no cell of this notebook reads it"):
        check_read(notebook(UNREAD[what]), ["lr"])


def test_the_values_of_an_earlier_run_set_nothing_anew():
    own = notebook("print(lr)")
    tags = {"tags": ["injected-parameters"]}
    own.cells.insert(1, nbformat.v4.new_code_cell("lr = 2", metadata=tags))
    check_read(own, ["lr"])  # what is refused is to give it values again


@pytest.mark.parametrize("what", DOUBT)
def test_in_doubt_whether_a_cell_reads_a_parameter_there_is_a_warning_and_it_runs(what, caplog):
    check_read(notebook(DOUBT[what]), ["lr"])
    (message,) = caplog.messages
    assert message.startswith("no cell reads 'lr' by its name") and "\n" not in message


def test_every_parameter_of_the_projects_own_notebooks_is_read_without_a_doubt(caplog):
    for path in NOTEBOOKS:
        own = nbformat.read(path, as_version=4)
        check_read(own, declared_parameters(own) or {})
    assert not caplog.messages


@pytest.mark.parametrize("how", [["run", "-p"], ["sweep", "-g"]], ids=" ".join)
def test_who_insists_gets_the_run(how, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_notebook(tmp_path / "n.ipynb", "x = 2", parameters="x = 1")
    command, option = how
    refused = CliRunner().invoke(main, [command, "n.ipynb", option, "x", "3"])
    assert refused.exit_code == 2 and "add --insist" in refused.stderr
    ran = []
    monkeypatch.setattr("mnist_nb.tools.runs.run.execute", lambda *a, **_: ran.append(a[2]))
    monkeypatch.setattr("mnist_nb.tools.runs.run.note_machine", lambda *a: None)
    monkeypatch.setattr("mnist_nb.tools.runs.run.keep", lambda *a: tmp_path / "n.ipynb")
    monkeypatch.setattr(
        "mnist_nb.tools.runs.sweep.carry_out",
        lambda sweep, *a: ran.extend(run.values for run in sweep.left) or (),
    )
    done = CliRunner().invoke(main, [command, "n.ipynb", option, "x", "3", "--insist"])
    assert done.exit_code == 0 and ran == [{"x": 3}], done.stderr
