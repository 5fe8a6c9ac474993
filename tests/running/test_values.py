"""Values mean what they say: YAML, words on the command line, the types that a cell declares."""

import json
from pathlib import Path

import nbformat
import papermill
import pytest
from click.testing import CliRunner
from conftest import WALKTHROUGH, small_notebook

from mnist_nb.errors import ParameterError
from mnist_nb.tools.cli import main
from mnist_nb.tools.runs.declared import Computed, declared_parameters
from mnist_nb.tools.runs.given import read_values
from mnist_nb.tools.runs.plans import SweepError, expand, read_plan, values_of
from mnist_nb.tools.runs.run import read_notebook, run
from mnist_nb.tools.runs.sweep import prepare

# What other people's notebooks have in their cell of parameters
PARAMETERS = """\
import os
from pathlib import Path
from typing import Literal, Optional
size = 2 * 5
lr = 10**-3
bits = 1 << 4
huge = len('x' * 9)
folder = Path('x') / 'y'
home: "Path | None" = None
key = os.environ.get('KEY')
a, (b, rest) = 1, (2.5, [3])
c = d = 5
quoted: "int" = 1
maybe: Optional[int] = None
text: str | None = None
mode: Literal['fast', 'slow', 3] = 'fast'
numbers: list[int] = [1]
items = [1, 2]
opts = {}
pair: tuple[int, str] = (1, 'a')
scale: dict[int, float] = {}
needed: float
if size > 5:
    chosen = 1
anything = None
number: float = 1
either: int | str = 1
implicit: str = None"""


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """A notebook with these parameters, which prints what arrives."""
    names = [name for name in NAMES if name not in ("needed",)]
    source = f"print({{name: globals()[name] for name in {names}}})"
    folder = tmp_path_factory.mktemp("values")
    return small_notebook(folder / "n.ipynb", source, parameters=PARAMETERS)


NAMES = [
    "size", "lr", "bits", "huge", "folder", "home", "key", "a", "b", "rest", "c", "d", "quoted",
    "maybe", "text", "mode", "numbers", "items", "opts", "pair", "scale", "needed", "chosen",
    "anything", "number", "either", "implicit",
]  # fmt: skip


def test_every_name_that_the_cell_assigns_is_a_parameter_with_its_default_if_that_is_known(path):
    declared = declared_parameters(read_notebook(path))
    assert list(declared) == NAMES
    known = {n: d.default for n, d in declared.items() if not isinstance(d.default, Computed)}
    assert known.items() >= {"size": 10, "lr": 0.001, "bits": 16, "a": 1, "b": 2.5, "rest": [3],
                             "c": 5, "d": 5, "quoted": 1, "pair": (1, "a")}.items()  # fmt: skip
    assert set(NAMES) - set(known) == {"huge", "folder", "key", "needed", "chosen"}


def test_a_default_that_would_take_forever_to_compute_is_left_to_the_notebook(tmp_path):
    cell = "a = 10**10**10\nb = 1 << 10**9\nc = 9**9**9**9"
    path = small_notebook(tmp_path / "n.ipynb", "print(a, b, c)", parameters=cell)
    declared = declared_parameters(read_notebook(path))
    assert all(isinstance(d.default, Computed) for d in declared.values())


@pytest.mark.parametrize(
    ("default", "word", "value"),
    [
        ("{1: 'a', 'b': 2}", "{c: 3}", {"c": 3}),
        ("{(1, 2): 3}", "{c: 3}", {"c": 3}),
        ("[0] * 3", "[1]", [1]),
        ("[n, 2 * n]", "[1]", [1]),
        ("f'{n}'", "1", "1"),
        ("int(os.environ['N'])", "1", 1),
        ("os.environ['N']", "1", "1"),
        ("pathlib.Path('x')", "1", "1"),
        ("Mode.FAST", "1", 1),
        ("{1, 2}", "1", 1),
    ],
)
def test_a_default_that_no_record_can_hold_or_only_the_notebook_knows_is_no_obstacle(
    tmp_path, default, word, value
):
    path = small_notebook(tmp_path / "n.ipynb", "print(x)", parameters=f"x = {default}")
    (run,) = prepare(path, {"parameters": {"x": word}}, str(tmp_path)).runs
    assert run.values == {"x": value}


def test_papermills_own_inspection_finds_every_parameter_of_the_walkthrough():
    found = papermill.inspect_notebook(WALKTHROUGH)
    assert set(found) == set(declared_parameters(read_notebook(WALKTHROUGH)))


# (parameter, what is given, the value); words as on the command line, or in a plan
FITS = [
    ("numbers", "[1, 2]", [1, 2]),
    ("numbers", "[]", []),
    ("items", "[1, a, 'b, 2', null, 1e-3]", [1, "a", "b, 2", None, 0.001]),
    ("opts", "{k: 2, 'on': no}", {"k": 2, "on": "no"}),
    ("pair", "[1, 2]", (1, "2")),
    ("scale", "{1: 2}", {1: 2.0}),
    ("mode", "3", 3),
    ("mode", "slow", "slow"),
    ("text", "[1, 2", "[1, 2"),
    ("text", "1.10", "1.10"),
    ("text", "null", None),
    ("maybe", "None", None),
    ("maybe", "123456789012345678901", 123456789012345678901),
    ("key", "007", "007"),
    ("folder", "a b/c", "a b/c"),
    ("home", "~", None),
    ("anything", "1e-3", 0.001),
    ("anything", "0x10", 16),
    ("anything", "no", "no"),
    ("anything", "12:30", "12:30"),
    ("anything", "2026-11-28", "2026-11-28"),
    ("anything", "'1'", "1"),
    ("anything", "-.inf", float("-inf")),
    ("anything", "", ""),
    ("size", "12", 12),
    ("number", "0.1", 0.1),
    ("number", "7", 7.0),
    ("chosen", "[true]", [True]),
    ("either", "1", 1),
    ("either", "a", "a"),
    ("implicit", "None", None),
    ("implicit", "1", "1"),
]


@pytest.mark.parametrize(("name", "word", "value"), FITS)
def test_a_word_becomes_the_value_that_it_says_in_yaml_for_the_type_of_its_parameter(
    path, name, word, value
):
    found = read_values(read_notebook(path), {name: word})[name]
    assert found == value and repr(type(found)) in (repr(type(value)), repr(type(found)))
    assert isinstance(found, type(value)) and not isinstance(found, bool) ^ isinstance(value, bool)


MISFITS = [
    (
        "numbers",
        "5",
        "numbers is '5'; it takes a list like [1, 2], in which each value is a whole",
    ),
    ("numbers", "hello", "it takes a list"),
    ("numbers", "[1,2", "it takes a list"),
    ("numbers", "[1, a]", "it takes a list"),
    ("numbers", "[1.0]", "it takes a list"),
    ("numbers", "[true]", "it takes a list"),
    ("items", "[1,2", "items is '[1,2'; it takes a list like [1, 2]"),
    ("items", "(1, 2)", "it takes a list"),
    ("opts", "[1]", "it takes names with values, like {a: 1}"),
    ("opts", "{1: a, b: c}", "it takes names with values"),
    ("pair", "[1]", "it takes a list of 2: a whole number, then a text"),
    ("scale", "{a: 1}", "each name is a whole number and each value is a number"),
    ("mode", "quick", "it takes one of 'fast', 'slow', 3"),
    ("maybe", "1.5", "it takes None or a whole number"),
    ("quoted", "1.5", "quoted is '1.5'; it takes a whole number"),
    ("anything", "[1,2", "it takes a value in YAML"),
    ("anything", "[!!python/name:os.system x]", "it takes a value in YAML"),
    ("anything", "[&a [*a]]", "it takes a value in YAML"),
    ("number", "1e999", "number is '1e999'; it takes a number"),
    ("number", "true", "it takes a number"),
    ("size", "1.0", "size is '1.0'; it takes a whole number"),
]


@pytest.mark.parametrize(("name", "word", "says"), MISFITS)
def test_a_value_that_does_not_have_the_type_is_refused_in_a_sentence(path, name, word, says):
    with pytest.raises(ParameterError) as caught:
        read_values(read_notebook(path), {name: word})
    sentence = str(caught.value)
    assert sentence.startswith(f"{name} is ") and says in sentence and "\n" not in sentence


PLAN = """\
parameters:
  opts: {k: 2, deep: [{on: 1}]}
grid:
  items: [[age, income], [age]]
  mode: [fast, 3]
zip:
  numbers: [[1, 2], []]
  anything: ["1", 1e-3]
exclude: [{items: [age], mode: fast}]
"""


def test_a_plan_holds_lists_and_dictionaries_of_real_values(path, tmp_path):
    (tmp_path / "plan.yaml").write_text(PLAN)
    sweep = prepare(path, read_plan(tmp_path / "plan.yaml"), str(tmp_path / "out"))
    found = [run.values for run in sweep.runs]
    opts = {"k": 2, "deep": [{"on": 1}]}
    assert found[:2] == [
        {"items": ["age", "income"], "mode": "fast", "numbers": n, "anything": v, "opts": opts}
        for n, v in (([1, 2], "1"), ([], 0.001))
    ]
    assert [(v["items"], v["mode"]) for v in found[2:]] == [
        *[(["age", "income"], 3)] * 2, *[(["age"], 3)] * 2
    ]  # fmt: skip
    assert len({run.name for run in sweep.runs}) == 6


def test_what_is_quoted_in_a_plan_is_a_text_and_no_number(path, tmp_path):
    for values, says in (
        ("['1']", "number is the text '1'; it takes a number"),
        ("[1, ~]", "None"),
    ):
        (tmp_path / "plan.yaml").write_text(f"grid: {{number: {values}}}")
        with pytest.raises(ParameterError, match=says):
            prepare(path, read_plan(tmp_path / "plan.yaml"), str(tmp_path))


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("[[1,2],[3,4]]", [["1", "2"], ["3", "4"]]),
        ("[1,2],[3,4]", [["1", "2"], ["3", "4"]]),
        ("[1, 2]", ["1", "2"]),
        ("{k: 1},{k: 2}", [{"k": "1"}, {"k": "2"}]),
        ("'a,b',c", ["a,b", "c"]),
        ("it's,5", ["it's", "5"]),
    ],
)
def test_lists_and_the_like_are_values_of_a_grid_on_the_command_line(words, values):
    assert values_of(words) == values


@pytest.mark.parametrize("words", ["[1,2", "[1,2],[3", "{a: 1", "'a,b", "[1]]", "[1],&a [*a]"])
def test_values_of_a_grid_that_are_half_yaml_are_refused_in_a_sentence(words):
    with pytest.raises(SweepError) as caught:
        expand({"grid": {"x": words}})
    assert "cannot be read" in str(caught.value)
    assert not set("\n^") & set(str(caught.value).replace(words, "")), "one line, without a caret"


GIVEN = {
    "numbers": "[1, 2]",
    "items": "[[a, 'it''s'], null, .nan]",
    "opts": "{k: 2, j: {x: true}}",
    "pair": "[7, b]",
    "scale": "{1: 0.5, 2: 1e-9}",
    "folder": 'a "b"/c',
    "key": "1\\n",
    "a": "123456789012345678901234567890",
    "lr": "0.30000000000000004",
    "mode": "3",
}
ARRIVES = {
    "numbers": "[1, 2]", "items": '[[\'a\', "it\'s"], None, nan]',
    "opts": "{'k': 2, 'j': {'x': True}}", "pair": "(7, 'b')", "scale": "{1: 0.5, 2: 1e-09}",
    "folder": "PosixPath('a \"b\"/c')", "key": r"'1\\n'", "a": "123456789012345678901234567890",
    "lr": "0.30000000000000004", "mode": "3", "size": "10",
}  # fmt: skip


def test_the_kernel_gets_the_values_themselves(path, tmp_path, caplog):
    done = run(path, GIVEN, tmp_path, quiet=True)
    (output,) = json.loads(done.read_text())["cells"][-1]["outputs"]
    shown = "".join(output["text"])
    for name, value in ARRIVES.items():
        assert f"'{name}': {value}" in shown
    assert len(caplog.messages) == len(GIVEN), "globals() may read them, and so it is said"
    nbformat.validate(nbformat.read(done, as_version=4))


def test_a_sweep_of_lists_on_the_command_line_is_refused_if_one_is_no_list(path, tmp_path):
    sweep = ["sweep", str(path), "-o", str(tmp_path), "-g", "numbers"]
    done = CliRunner().invoke(main, [*sweep, "1,2"])
    assert done.exit_code == 2 and "numbers is '1'; it takes a list" in done.stderr
    assert prepare(path, {"grid": {"numbers": "[1,2],[3,4]"}}, str(tmp_path)).left[1].values == {
        "numbers": [3, 4]
    }
