"""Every combination of parameters runs, or gets one clear sentence."""

import copy
import functools
import json
import math
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from conftest import NOTEBOOKS, WALKTHROUGH
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from torchvision import datasets

from mnist_nb import data, sources
from mnist_nb.errors import DataError, ParameterError
from mnist_nb.parameters import RULES, check_parameters
from mnist_nb.record import MIME, NOT_FINITE
from mnist_nb.tools.runs.declared import declared_parameters, named_checker
from mnist_nb.tools.runs.given import read_values

NOTEBOOK = nbformat.read(WALKTHROUGH, as_version=4)
DEFAULTS = {name: d.default for name, d in declared_parameters(NOTEBOOK).items()}

BAD = [
    ("epochs", "0", "whole number from 1"),
    ("epochs", "-1", "whole number from 1"),
    ("epochs", "1.5", "whole number from 1"),
    ("epochs", "five", "whole number from 1"),
    ("lr", "0", "above 0"),
    ("lr", "nan", "above 0"),
    ("lr", "inf", "below 3.4e38"),
    ("lr", "1e+39", "below 3.4e38"),
    ("lr", "-0.1", "above 0"),
    ("dropout", "1", "not including, 1"),
    ("dropout", "1.5", "not including, 1"),
    ("dropout", "-0.1", "from 0"),
    ("batch_size", "0", "from 1"),
    ("batch_size", "70000", "from 1"),
    ("batch_size", "56000", "train_size, which is 55000"),
    ("train_size", "55001", "together 60,001"),
    ("val_size", "0", "from 1"),
    ("hidden", "0", "from 1"),
    ("hidden", "10001", "to 10,000"),
    ("data_dir", "", "path of a folder"),
    ("data_dir", "a\0b", "path of a folder"),
    ("dataset", "CIFAR", "'MNIST', 'FashionMNIST'"),
    ("device", "tpu", "'cpu', 'cuda'"),
    ("shuffle", "yes", "True or False"),
    ("seed", "1.0", "whole number"),
    ("seed", "-1", "a whole number from 0 to 4,294,967,295"),
    ("num_threads", "0", "from 1"),
    ("epocs", "3", "did you mean 'epochs'?"),
    ("colour", "red", "it has lr, epochs"),
]


@pytest.mark.parametrize(("name", "word", "says"), BAD)
def test_a_bad_parameter_gets_one_sentence_that_names_it_what_it_got_and_what_it_takes(
    name, word, says
):
    with pytest.raises(ParameterError) as caught:
        read_values(NOTEBOOK, {name: word})
    sentence = str(caught.value)
    assert name in sentence and says in sentence and "\n" not in sentence
    assert repr(word)[1:-1] in sentence or name in ("epocs", "colour")


def test_cuda_without_one_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(ParameterError, match="on this machine"):
        check_parameters(DEFAULTS | {"device": "cuda"})


def test_the_defaults_are_the_sources_choices_and_pass():
    assert check_parameters(DEFAULTS) == DEFAULTS
    assert set(DEFAULTS) == set(RULES)
    assert (DEFAULTS["batch_size"], DEFAULTS["hidden"], DEFAULTS["lr"]) == (32, 64, 0.01)
    assert (DEFAULTS["train_size"], DEFAULTS["val_size"]) == (55_000, 5_000)
    assert (DEFAULTS["dropout"], DEFAULTS["epochs"], DEFAULTS["num_threads"]) == (0.1, 5, 1)
    assert not DEFAULTS["shuffle"] and not DEFAULTS["eval_mode"] and DEFAULTS["preload"]


def test_words_become_values_of_the_declared_types():
    flags = {"shuffle": "true", "preload": "False"}
    values = read_values(NOTEBOOK, {"lr": "1", "epochs": "2", **flags, "data_dir": "None"})
    assert values == {"lr": 1.0, "epochs": 2, "shuffle": True, "preload": False, "data_dir": None}
    assert [type(v) for v in values.values()] == [float, int, bool, bool, type(None)]


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([])
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(RULES, ANYTHING)))
def test_any_values_at_all_pass_or_get_one_sentence(values):
    try:
        checked = check_parameters(DEFAULTS | values)
    except ParameterError as error:
        assert "\n" not in str(error) and str(error)
    else:
        assert checked.keys() == RULES.keys()


def test_a_cell_that_checks_parameters_names_its_checker():
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        has_parameters = any("parameters" in cell.metadata.get("tags", []) for cell in cells)
        for cell in cells if has_parameters else ():
            named = cell.metadata.get("mnist_nb", {}).get("checks", "")
            assert ("check_parameters(" in cell.source) == bool(named), (path.name, cell.id)
            assert not named or f"{named.partition(':')[2]}(" in cell.source
    assert named_checker(NOTEBOOK) is check_parameters


@pytest.mark.parametrize(
    "named",
    ["own:check", "os:system", "mnist_nb.tools.cli:main", "mnist_nb.data:no_such", 1, None, ["a"]],
)
def test_a_checker_from_elsewhere_is_refused_and_its_module_not_imported(
    named, tmp_path, monkeypatch
):
    (tmp_path / "own.py").write_text("print('imported')\ncheck = print")
    monkeypatch.syspath_prepend(tmp_path)
    notebook = copy.deepcopy(NOTEBOOK)
    notebook.cells[0].metadata["mnist_nb"] = {"checks": named}
    with pytest.raises(ParameterError, match="a function of this package"):
        read_values(notebook, {})
    assert "own" not in sys.modules


def test_a_notebook_that_names_no_checker_is_held_to_its_types_alone():
    notebook = copy.deepcopy(NOTEBOOK)
    for cell in notebook.cells:
        cell.metadata.pop("mnist_nb", None)
    assert read_values(notebook, {"epochs": "0"}) == {"epochs": 0}
    with pytest.raises(ParameterError, match=r"epochs is 'five'; it takes a whole number$"):
        read_values(notebook, {"epochs": "five"})


CELLS = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
SETS = ["MNIST", "FashionMNIST"]


@pytest.fixture
def walkthrough(data_root, tmp_path, monkeypatch):
    """Execute the walkthrough's own cells here with other values: its names, and what it shows.

    The files of MNIST are there, and of FashionMNIST if this machine has them; no more can be had.
    """
    for name in SETS:
        if Path(data_root, name).is_dir():
            (tmp_path / name).symlink_to(Path(data_root, name))
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MNIST_NB_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "fetch", functools.cache(data.fetch))
    monkeypatch.setattr(sources, "LOCAL_FOLDERS", {})
    monkeypatch.setattr(sources, "_wheel", lambda names: iter(()))
    for name in (*SETS, "KMNIST"):
        monkeypatch.setattr(getattr(datasets, name), "mirrors", ["http://127.0.0.1:9/"])
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda output, **_: shown.append(output))
    threads, state = torch.get_num_threads(), torch.get_rng_state()

    def execute(values):
        shown.clear()
        names = {}
        for cell in CELLS:
            exec(cell.source, names)
            if "parameters" in cell.metadata.get("tags", []):
                names |= values
        return names, shown

    yield execute
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


WRONG = st.dictionaries(
    st.sampled_from(sorted(RULES)),
    st.sampled_from([None, "", "x", True, [], -1, 0, 1.5, 10**400, math.nan, math.inf]),
    min_size=1,
    max_size=2,
)


@st.composite
def some_parameters(draw):
    """Values for all parameters, small where it takes time; at times some that are wrong."""
    train_size = draw(st.integers(1, 200))
    values = {
        "seed": draw(st.integers(0, 2**32 - 1)),
        "dataset": draw(st.sampled_from(SETS)),
        "data_dir": None,
        "train_size": train_size,
        "val_size": draw(st.integers(1, 100)),
        "batch_size": draw(st.integers(1, train_size)),
        "shuffle": draw(st.booleans()),
        "hidden": draw(st.integers(1, 100)),
        "dropout": draw(st.floats(0, 1, exclude_max=True)),
        "lr": draw(st.floats(1e-300, 1) | st.floats(1, 3.3e38)),
        "epochs": draw(st.integers(1, 7)),
        "eval_mode": draw(st.booleans()),
        "preload": draw(st.booleans()),
        "device": draw(st.sampled_from(["cpu", "auto"])),
        "num_threads": draw(st.integers(1, 3)),
    }
    return values | draw(st.just({}) | WRONG)


EDGES = DEFAULTS | {"train_size": 1, "val_size": 1, "batch_size": 1, "hidden": 1, "epochs": 1}


def outcome(walkthrough, values) -> str:
    """Run the walkthrough with `values`: its record is whole, or there is one sentence."""
    try:
        names, shown = walkthrough(values)
    except ParameterError as error:
        assert str(error) and "\n" not in str(error)
        return "refused"
    except DataError as error:
        there = (data.data_folder() / values["dataset"]).is_symlink()
        assert not there or values["data_dir"] is not None
        assert str(error).startswith(("the files of", "the data folder", "KMNIST could not"))
        return "no data"
    assert len(names["history"]) == values["epochs"]
    *drawn, record = shown
    assert drawn and all(figure["image/png"].startswith(b"\x89PNG") for figure in drawn)
    record = json.loads(json.dumps(record[MIME], allow_nan=False))
    chosen = {"device": names["device"]}  # what was computed on, where "auto" was asked for
    assert chosen["device"] in ("cpu", "cuda", "mps")
    assert record["parameters"] == {name: values[name] for name in RULES} | chosen
    for row in record["history"]:
        for name in ("train_loss", "val_loss", "val_accuracy"):
            assert row[name] in NOT_FINITE or math.isfinite(row[name])
    return "ran"


SLOW = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=10, **SLOW)
@given(some_parameters())
def test_combinations_run_or_get_one_sentence(walkthrough, values):
    event(outcome(walkthrough, values))


@pytest.mark.whole
@settings(max_examples=300, **SLOW)
@given(some_parameters())
def test_many_combinations_run_or_get_one_sentence(walkthrough, values):
    event(outcome(walkthrough, values))


@pytest.mark.parametrize(
    ("edge", "then"),
    [
        ({"seed": 0, "dropout": math.nextafter(1, 0), "lr": 1e-300}, "ran"),
        ({"seed": 2**32 - 1, "lr": 3.3e38, "epochs": 3, "num_threads": 256}, "ran"),
        ({"train_size": 59_999, "batch_size": 59_999, "shuffle": True, "device": "auto"}, "ran"),
        ({"seed": 2**32}, "refused"),
        ({"dropout": 1}, "refused"),
        ({"lr": 1e300}, "refused"),
        ({"hidden": 100_000}, "refused"),
        ({"val_size": 60_000}, "refused"),
        ({"batch_size": 2}, "refused"),
        ({"epochs": True}, "refused"),
        ({"lr": True}, "refused"),
        ({"data_dir": ""}, "refused"),
        ({"data_dir": "a\0b"}, "refused"),
        ({"data_dir": "x" * 300}, "no data"),
        ({"data_dir": "file/data"}, "no data"),
        ({"data_dir": "~no-such-user/data"}, "no data"),
        ({"dataset": "KMNIST"}, "no data"),
    ],
    ids=str,
)
def test_values_at_the_edge_run_or_get_one_sentence(walkthrough, edge, then):
    assert outcome(walkthrough, EDGES | edge) == then
