"""Records that are old, cut off, bent or not ours: named in one sentence, and on it goes."""

import copy
import itertools
import json
import math
import os

import pandas as pd
import pytest
from click.testing import CliRunner
from conftest import WALKTHROUGH
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mnist_nb.record import MIME, SCHEMA, show_record
from mnist_nb.tools.cli import main
from mnist_nb.tools.runs.results import read_record
from mnist_nb.tools.runs.tables import grouped

COMMITTED = json.loads(WALKTHROUGH.read_text())
(CELL,) = [c for c in COMMITTED["cells"] if any(MIME in o["data"] for o in c.get("outputs", ())
                                                if "data" in o)]  # fmt: skip
# the committed walkthrough, its last cell alone: as small as a real record gets
REAL = COMMITTED | {"cells": [CELL], "metadata": {"mnist_nb": {"wall_time_s": 1.5}}}
RECORD = CELL["outputs"][0]["data"][MIME]


def changed(**keys) -> dict:
    """The real notebook, its record changed."""
    notebook = copy.deepcopy(REAL)
    notebook["cells"][0]["outputs"][0]["data"][MIME] |= keys
    return notebook


def row(**keys) -> list[dict]:
    return [*RECORD["history"], RECORD["history"][-1] | {"epoch": 6} | keys]


@pytest.fixture
def results(tmp_path):
    """Run `mnist-nb results` on a good record and on `content` in every form; what it said."""
    good, other = tmp_path / "good.ipynb", tmp_path / "other.ipynb"
    good.write_text(json.dumps(REAL))

    def run(content: str | bytes):
        other.write_bytes(content.encode() if isinstance(content, str) else content)
        said = set()
        for form in (["--by", "lr"], ["--epochs"], [], ["--csv"], ["--json"]):
            done = CliRunner().invoke(main, ["results", str(other), str(good), *form])
            assert done.exit_code == 0, done.exception
            assert "good.ipynb" in done.stdout or "--by" in form
            mixed = done.stderr.startswith("the groups mix")  # the good one and a changed one
            said.add("" if mixed else done.stderr)
        files = [record["file"] for record in json.loads(done.stdout, parse_constant=pytest.fail)]
        assert files == [str(other)] * (said == {""}) + [str(good)]
        (sentence,) = said
        assert sentence == "" or (sentence.startswith(f"{other}: ") and sentence.count("\n") == 1)
        return sentence

    return run


OTHERS = {
    "a newer schema": changed(schema=SCHEMA + 1),
    "an older schema": changed(schema=0),
    "no name": changed(notebook=None),
    "no parameters": changed(parameters=None),
    "parameters in a list": changed(parameters=["lr", 0.01]),
    "no epoch": changed(history=[]),
    "an epoch that is a number": changed(history=[1]),
    "a number that is a list": changed(history=row(val_loss=[0.1])),
    "an epoch left out": changed(history=RECORD["history"][1:]),
    "a loss that is a word": changed(history=row(val_loss="0.25")),
    "a loss that is true": changed(history=row(val_loss=True)),
    "a loss that is no number": changed(history=row(val_loss=float("nan"))),
    "a loss without end": changed(history=row(val_loss=float("inf"))),
    "a loss past all floats": changed(history=row(val_loss=10**400)),
    "half a character": changed(parameters={"dataset": "\ud800"}),
    "another's notebook": REAL | {"cells": []},
    "no metadata": {"cells": REAL["cells"]},
    "metadata in a list": REAL | {"metadata": []},
    "a machine that is a word": REAL | {"metadata": {"mnist_nb": "x86"}},
    "a machine that is no number": REAL | {"metadata": {"mnist_nb": {"x": float("nan")}}},
    "cells in a number": REAL | {"cells": 1},
    "no notebook": ["cells"],
    "nothing": None,
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_record_that_is_not_whole_is_named_and_the_others_are_read(results, kind):
    assert results(json.dumps(OTHERS[kind])) != ""


@pytest.mark.parametrize(
    ("history", "said"),
    [
        (row(area="big"), "area is 'big' in epoch 6, not a number"),
        (row(val_loss=True), "val_loss is True in epoch 6, not a number"),
        (row(val_loss=[0.1]), "val_loss is [0.1] in epoch 6, not a number"),
        (row(val_loss=10**400), "in epoch 6, not a number"),
        (row(**{"a\nb\ud800": "x"}), r"'a\nb\ud800' is 'x' in epoch 6, not a number"),
        (RECORD["history"][1:], "2, 3, 4, 5"),
        ([], "no epoch"),
    ],
    ids=["text", "true", "list", "large", "odd name", "epochs", "none"],
)
def test_of_a_history_it_is_said_what_is_wrong_and_where_and_to_correct_it(results, history, said):
    sentence = results(json.dumps(changed(history=history)))
    assert said in sentence and "show_record" in sentence and "schema" not in sentence


def test_a_record_of_another_version_is_to_be_made_again(results):
    sentence = results(json.dumps(changed(schema=0)))
    assert "run it again" in sentence and "show_record" not in sentence


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", bytes(range(256)), b"\xff\xfe" + "{}".encode("utf-16-le"), b"[" * 100_000,
     b'{"cells":' * 100_000, b"1" * 10_000],
    ids=["empty", "zero", "binary", "utf-16", "deep list", "deep dictionary", "long number"],
)  # fmt: skip
def test_what_is_no_json_is_named_and_the_others_are_read(results, content):
    assert "is not a complete notebook" in results(content)


def test_a_record_with_parameters_that_nobody_foresaw_is_read(results):
    parameters = {"sizes": [1, 2], "nested": {"a": None}, "seed": 10**400, "run": "", "": 0.1}
    assert results(json.dumps(changed(parameters=parameters))) == ""
    assert results(json.dumps(changed(extra=1, file="elsewhere", machine=1))) == ""


def test_a_loss_that_diverged_is_read(results):
    assert results(json.dumps(changed(history=row(train_loss=None, val_loss=None)))) == ""


DIVERGED = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@pytest.mark.parametrize("word", DIVERGED)
def test_a_loss_that_diverged_is_recorded_by_its_name_and_read_back(monkeypatch, tmp_path, word):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda output, **_: shown.append(output))
    history = [RECORD["history"][0] | {"train_loss": DIVERGED[word]}]
    show_record("n", {"limits": [DIVERGED[word], 1.0]}, history)
    assert shown[0][MIME]["history"] == [history[0] | {"train_loss": word}]
    assert shown[0][MIME]["parameters"] == {"limits": [word, 1.0]}
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps(changed(**shown[0][MIME]), allow_nan=False))
    (row,) = read_record(path)["history"]
    assert str(row["train_loss"]) == str(DIVERGED[word])
    said = CliRunner().invoke(main, ["results", str(path), "--json"]).stdout
    (record,) = json.loads(said, parse_constant=pytest.fail)
    assert record["history"][0]["train_loss"] == word


def said_of(tmp_path, *losses) -> list[str]:
    """What `compare` says of two records with these losses in a sixth epoch."""
    for name, loss in zip("ab", losses, strict=True):
        (tmp_path / name).write_text(json.dumps(changed(history=row(train_loss=loss))))
    found = CliRunner().invoke(main, ["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert found.exit_code == 0
    return found.stdout.splitlines()


def test_nan_is_the_same_as_nan_and_differs_from_infinity_and_from_what_is_not_known(tmp_path):
    assert said_of(tmp_path, "NaN", "NaN") == ["the numbers are identical in 6 epochs"]
    for one, other in itertools.permutations([*map(json.dumps, DIVERGED), "null", "0.5"], 2):
        (line,) = said_of(tmp_path, json.loads(one), json.loads(other))
        one, other = one.strip('"'), other.strip('"')
        assert line == f"the numbers differ from epoch 6: train_loss {one} | {other}"


def test_two_losses_of_old_records_that_diverged_are_not_called_equal(tmp_path):
    unknown, equal = said_of(tmp_path, None, None)
    assert unknown.startswith("not compared: train_loss of epoch 6; these records are from a ver")
    assert equal == "the other numbers are identical in 6 epochs"


def test_cut_off_at_any_byte_it_is_no_record(tmp_path):
    whole, path = json.dumps(REAL).encode(), tmp_path / "cut.ipynb"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is not a complete notebook"):
            read_record(path)
    path.write_bytes(whole)
    assert read_record(path)["history"] == RECORD["history"]


def test_folders_pipes_and_what_is_not_there_are_named_and_the_others_are_read(command, tmp_path):
    (tmp_path / "runs" / "folder.ipynb").mkdir(parents=True)
    os.mkfifo(tmp_path / "runs" / "pipe.ipynb")
    (tmp_path / "runs" / "dangling.ipynb").symlink_to("nowhere")
    (tmp_path / "runs" / "good.ipynb").write_text(json.dumps(REAL))
    done = command("results", "runs", "missing.ipynb")
    assert done.returncode == 0 and "good.ipynb" in done.stdout
    named = [line.partition(": ")[0].rpartition("/")[2] for line in done.stderr.splitlines()]
    assert named == ["dangling.ipynb", "folder.ipynb", "pipe.ipynb", "missing.ipynb"]


def test_where_no_record_is_read_at_all_it_fails_in_one_sentence(tmp_path):
    done = CliRunner().invoke(main, ["results", str(tmp_path)])
    assert (
        done.exit_code != 0 and done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
    )


def places(value, path=()):
    """All places in a value of JSON, as paths."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
PLACES = st.sampled_from([place for place in places(REAL) if place])


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@example([(("metadata",), [])])
@example([(("metadata", "mnist_nb", "wall_time_s"), "x")])
@example([(("metadata", "mnist_nb", "wall_time_s"), 10**400)])
@given(st.lists(st.tuples(PLACES, JSON | st.just(Ellipsis)), min_size=1, max_size=3))
def test_a_record_bent_at_any_place_is_read_or_named(results, changes):
    notebook = copy.deepcopy(REAL)
    for (*way, last), value in changes:
        inner = notebook
        try:
            for key in way:
                inner = inner[key]
            if value is Ellipsis:
                del inner[last]
            else:
                inner[last] = value
        except (TypeError, KeyError, IndexError):
            continue  # an earlier change took the place away
    results(json.dumps(notebook))


def test_a_group_has_the_mean_and_the_standard_deviation_of_its_runs():
    columns = ["rmse", "wall_time_s"]
    frame = pd.DataFrame({"lr": [1, 1, 1, 2]} | {name: [0.0, 0.3, 3.0, 5.0] for name in columns})
    found = grouped(frame, ["lr"], columns)
    assert found["runs"].tolist() == [3, 1]
    for name in columns:
        assert found[f"{name}_mean"].tolist() == pytest.approx([1.1, 5])
        assert found[f"{name}_std"][0] == pytest.approx(2.73**0.5)  # (1.21 + 0.64 + 3.61) / 2
