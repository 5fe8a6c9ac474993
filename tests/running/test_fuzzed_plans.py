"""Plans and command lines at random: each is carried out as it says, or refused in one sentence.

A quick slice; `FUZZED=500 pytest tests/running/test_fuzzed_plans.py` tries 500 of each kind.
"""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import WALKTHROUGH, small_notebook
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from mnist_nb.errors import Problem
from mnist_nb.tools.cli import main
from mnist_nb.tools.runs.plans import read_plan
from mnist_nb.tools.runs.sweep import prepare

FUZZ = settings(
    max_examples=int(os.environ.get("FUZZED", "40")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
# Parameter -> its line in the cell, and whether a value of JSON has its type
KINDS = {
    "whole": ("whole: int = 1", lambda v: type(v) is int),
    "number": ("number = 0.1", lambda v: is_number(v)),
    "switch": ("switch: 'bool' = True", lambda v: type(v) is bool),
    "text": ("text: str | None = None", lambda v: v is None or is_text(v)),
    "wholes": ("wholes: list[int] = [1]", lambda v: (
        type(v) is list and all(type(part) is int for part in v))),
    "mode": ("mode: Literal['a', 2] = 'a'", lambda v: v == "a" or (v == 2 and type(v) is int)),
    "opts": ("opts: dict[str, float] = {}", lambda v: (
        type(v) is dict and all(map(is_number, v.values())))),
    "pair": ("pair: tuple[int, str] = (1, 'a')", lambda v: (
        type(v) is list and len(v) == 2 and type(v[0]) is int and is_text(v[1]))),
    "anything": ("anything = None", lambda v: True),
}  # fmt: skip


def is_number(value) -> bool:
    """Is it a number, and none that is too large for a float?"""
    return type(value) is float or (type(value) is int and abs(value) < 2**1023)


def is_text(value) -> bool:
    """Can it stand for a text? A number that is not quoted is the text that stands there."""
    return isinstance(value, str | bool | int | float)


def has_type(name: str, value) -> bool:
    return KINDS[name][1](json.loads(json.dumps(value)))


@pytest.fixture(scope="module")
def notebook(tmp_path_factory) -> Path:
    cell = "\n".join(line for line, _ in KINDS.values())
    folder = tmp_path_factory.mktemp("fuzzed")
    return small_notebook(folder / "n.ipynb", f"print({', '.join(KINDS)})", parameters=cell)


def one_sentence(text: str) -> bool:
    return bool(text.strip()) and "\n" not in text and "Traceback" not in text


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)
ODD = [
    "1", "1e-3", "true", "null", "~", "", "no", "[1", "{a", "'", "a: b", "0:3", "1,2", "#", "- a",
    "&a", "*a", "!x", "12:30", "a", "%", "None",
]  # fmt: skip
TEXTS |= st.sampled_from(ODD)
NUMBERS = st.integers(-5, 5) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
OF_TYPE = {
    "whole": st.integers(),
    "number": NUMBERS,
    "switch": st.booleans(),
    "text": TEXTS | st.none(),
    "wholes": st.lists(st.integers(), max_size=3),
    "mode": st.sampled_from(["a", 2]),
    "opts": st.dictionaries(TEXTS, NUMBERS, max_size=3),
    "pair": st.tuples(st.integers(), TEXTS).map(list),
    "anything": JSON,
}


@st.composite
def rows(draw):
    """Parameters and values: of the right type for the most part, and a name that is wrong."""
    names = draw(st.lists(st.sampled_from([*KINDS, *KINDS, "wohle"]), unique=True, max_size=4))
    right = draw(st.sampled_from([True, True, True, False]))
    return {name: draw(OF_TYPE[name] if right and name in KINDS else JSON) for name in names}


def same(found, said) -> bool:
    """Is a parameter's value what JSON says? A tuple is a list there, 2.0 and 2 are the same."""
    if isinstance(said, list):
        return len(found) == len(said) and all(map(same, found, said))
    if isinstance(said, dict):
        return found.keys() == said.keys() and all(same(found[key], said[key]) for key in said)
    if isinstance(found, float) and type(said) in (int, float):
        return found == float(said)
    if isinstance(found, str) and not isinstance(said, str):
        return found == json.dumps(said)
    return type(found) is type(said) and found == said


@FUZZ
@given(rows(), st.sampled_from(["parameters", "runs", "grid", "include"]))
def test_a_plan_in_json_is_carried_out_with_these_very_values_or_refused(notebook, row, part):
    file = notebook.with_name("plan.yaml")
    content = row if part == "parameters" else [row]
    if part == "grid":
        content = {name: [value] for name, value in row.items()}
    file.write_text(json.dumps({part: content}, ensure_ascii=False), encoding="utf-8")
    right = all(name in KINDS and KINDS[name][1](value) for name, value in row.items())
    try:
        (run,) = prepare(notebook, read_plan(file), str(notebook.parent / "out")).runs
    except Problem as error:
        event("refused")
        assert one_sentence(str(error))
        printable = json.dumps(row, ensure_ascii=False).isprintable()
        assert not right or not printable, f"refused: {error}"
    else:
        event("right")
        assert right and all(map(same, run.values.values(), row.values()))
        assert list(run.values) == list(row)


WORDS = st.one_of(
    TEXTS,
    JSON.map(lambda value: json.dumps(value, ensure_ascii=False)),
    SCALARS.map(str),
    st.text("[]{}'\",:0123456789.e-+# atruflsn&*!|>%~\\", max_size=12),
)


OPTION = st.sampled_from([*KINDS, "x"]).flatmap(
    lambda name: st.tuples(
        st.sampled_from("pg"), st.just(name),
        OF_TYPE.get(name, JSON).map(lambda value: json.dumps(value, ensure_ascii=False)) | WORDS,
    )
)  # fmt: skip


@FUZZ
@given(st.lists(OPTION, max_size=3, unique_by=lambda option: option[1]))
def test_a_command_line_is_carried_out_or_refused_in_one_sentence(notebook, options):
    arguments = [word for option, *pair in options for word in (f"-{option}", *pair)]
    started = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "mnist_nb.tools.runs.sweep.carry_out", lambda sweep, *_: started.append(sweep) or ()
        )
        out = str(notebook.parent / "out")
        done = CliRunner().invoke(main, ["sweep", str(notebook), "-y", "-o", out, *arguments])
    if done.exit_code:
        event("refused")
        assert isinstance(done.exception, SystemExit), done.exception
        assert done.stderr.startswith("Error: ") and one_sentence(done.stderr.rstrip("\n"))
    else:
        event("right")
        (sweep,) = started
        values = [item for run in sweep.runs for item in run.values.items()]
        assert all(isinstance(value, float) or has_type(name, value) for name, value in values)


@FUZZ
@given(st.sampled_from([*KINDS]).flatmap(lambda n: st.tuples(st.just(n), OF_TYPE[n])))
def test_a_word_in_json_is_this_very_value_for_a_parameter_that_takes_it(notebook, pair):
    name, value = pair
    word = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    quoted = json.dumps(value, ensure_ascii=False) if name == "anything" else word
    is_none = name == "text" and value in ("None", "null", "Null", "NULL", "~")
    if is_none or not quoted.isprintable():
        return
    plan = {"parameters": {name: quoted}}
    (run,) = prepare(notebook, plan, str(notebook.parent / "out")).runs
    assert same(run.values[name], value)


PLANS = [path.read_text() for path in sorted(WALKTHROUGH.parents[1].glob("studies/*/*.yaml"))]


@st.composite
def broken_plans(draw):
    """The text of a plan of ours with a few characters changed, or any text at all."""
    text = draw(st.sampled_from(PLANS) | st.text(max_size=40))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        new = draw(st.text("[]{}'\",:0 1-\n\t#&*!|>%~\\ae", max_size=3))
        text = text[:at] + new + text[at + draw(st.integers(0, 3)) :]
    return text


@FUZZ
@given(broken_plans())
def test_a_broken_plan_is_read_or_refused_in_one_sentence(notebook, text):
    file = notebook.with_name("plan.yaml")
    file.write_bytes(text.encode(errors="surrogatepass"))
    try:
        runs = prepare(WALKTHROUGH, read_plan(file), str(notebook.parent / "out")).runs
    except Problem as error:
        event("refused")
        assert one_sentence(str(error))
    else:
        event("right")
        assert runs and all(run.name for run in runs)
