"""The tests of a notebook, in a process of their own: what they see, and what they say."""

from types import SimpleNamespace

import pytest
from test_classroom import needs_bubblewrap

from mnist_nb.tools.classroom import exam
from mnist_nb.tools.classroom.exam import authors_texts, shortened
from mnist_nb.tools.classroom.originals import Prepared, names_in
from mnist_nb.tools.classroom.sandbox import Examiner, Sandbox

START = "from mnist_nb.exercises import calls, check, close, NotYet\nimport torch"
START += "\nones = torch.ones(2)"  # an object of several tests
HIDDEN = "f(1)\n### BEGIN HIDDEN TESTS\n{}\n### END HIDDEN TESTS"
TESTS = {
    "printed": ("f = lambda x: x", "print('✓ right')"),
    "values": ("guess = [1, 'two', (3.0,)]\nword = 'x'", "check(guess[2] == (3.0,), 'no')"),
    "other name": ("def f(x):\n    return x", "check(f(2) == 2, f'2 is wanted, not {f(2)}')"),
    "raised": ("def f(x):\n    return x", HIDDEN.format("f(5)")),
    "used": ("def f(x):\n    return x", HIDDEN.format("f(5) + 1")),
    "function": ("def f(x):\n    return lambda y: x + y", "check(f(1)(2) == 3, 'no')"),
    "random": ("def f():\n    return torch.rand(2)",
               "torch.manual_seed(1)\na = f()\ntorch.manual_seed(1)\n"
               "check(close(a, torch.rand(2)) and not close(f(), a), 'no')"),
    "late": ("def f(x):\n    return x", HIDDEN.format("f(2)")),
    "changed": ("def f(x):\n    return sum(x)",
                "x = torch.ones(2)\ngiven = f(x)\n"
                "check(given == x.sum(), 'the sum is wrong')"),
    "type": ("def f(x):\n    raise ValueError(x)",
             "try:\n    f(-1)\nexcept ValueError:\n    pass\n"
             "else:\n    check(False, 'ValueError is wanted')"),
    "constant": ("def f(x):\n    return x + 1",
                 "f(0)\nx = torch.rand(5)\ncheck(f(0) == 1 and x.var() > 0, 'no')\n"
                 "check(torch.equal(f(x), x + 1), 'not one more')"),
    "calls": ("def f(x):\n    return x",
              "with calls() as used:\n    f(torch.ones(1, 2))\n"
              "check('_softmax' not in used, 'it uses softmax')"),
    "shapes": ("def f(x):\n    return x.sum()",
               "class sizes(calls):\n"
               "    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):\n"
               "        result = super().__torch_dispatch__(operator, types, args, kwargs)\n"
               "        self.used.add(' × '.join(map(str, getattr(result, 'shape', ()))))\n"
               "        return result\n"
               "with sizes() as used:\n    f(torch.ones(30))\n"
               "check('30 × 30' not in used, 'it makes a table')"),
    "broken": ("def f(x):\n    return x", "check(f(1) == 2, 'its own test fails')"),
    "below": ("def f(x):\n    return x", "check(f(1) == 1, 'no')",
              "import os\nif type(f).__name__ == 'StandIn':\n    os._exit(1)"),
    "shared": ("def f(x):\n    return x.sum()", "check(f(ones) == 2, 'no')",
               "f(ones)", "check(ones.sum() == 2, 'the ones have changed')"),
}  # fmt: skip


def original(solution: str, test: str, below: str = "", last: str = "") -> list[dict]:
    no = {"code": True, "solution": False, "test": False, "manual": False}
    return [
        no | {"id": "start", "source": START},
        no | {"id": "task", "source": solution, "solution": True},
        no | {"id": "task-test", "source": test, "test": True},
        no | {"id": "below", "source": below},
        *[no | {"id": "last-test", "source": last, "test": True}] * bool(last),
    ]


@pytest.fixture(scope="module")
def processes():
    learner = Sandbox(contained=True)
    examiner = Examiner({name: original(*cells) for name, cells in TESTS.items()})
    yield lambda job: learner.run(examiner, job)
    learner.stop()
    examiner.stop()


@pytest.fixture
def examined(processes):
    """Run an exercise with a solution; return whether it passed, what is said, and the result."""

    def examined(name: str, solution: str, after: str = "", seconds: int = 60):
        visible = TESTS[name][1].partition("### BEGIN")[0]
        sources = {"start": START, "task": solution, "task-test": visible, "own": after}
        sources |= dict(zip(["below", "last-test"], TESTS[name][2:], strict=False))
        cells = [{"id": k, "source": source, "code": True} for k, source in sources.items()]
        result = processes({"exercise": name, "cells": cells, "seconds": seconds})
        test = result.get("tests", {}).get("task-test", {"passed": None, "outputs": []})
        said = [o.get("evalue", o.get("text")) for o in test["outputs"]]
        return test["passed"], said, result

    return examined


@needs_bubblewrap
@pytest.mark.parametrize(
    ("name", "solution", "passed", "said"),
    [
        ("printed", "f = 1", True, ["✓ right\n"]),
        ("values", "guess, word = [1, 2, (3.0,)], None", True, []),
        ("values", "guess = [1, 2, 3]", False, ["no"]),
        ("values", "", False, ["name 'guess' is not defined"]),
        ("other name", "g = 1", False, ["name 'f' is not defined"]),
        ("other name", "def f(x):\n    return 'y' * 1000", False,
         ["2 is wanted, not " + "y" * 283 + "…"]),
        ("raised", "def f(x):\n    if x == 5:\n        raise OSError(f'{x} was asked')", False,
         ["with other inputs, your code raised OSError"]),
        ("raised", "class Five(Exception): pass\ndef f(x):\n    if x == 5:\n        raise Five(x)",
         False, ["with other inputs, your code raised an error"]),
        ("raised", "def f(x):\n    raise OSError('mine')", False, ["mine"]),
        ("used", "def f(x):\n    return None", False,
         ["with other inputs, the check could not use what came back"]),
        ("function", "def f(x):\n    def g(y):\n        return x + y\n    return g", True, []),
        ("random", "def f():\n    return torch.rand(2)", True, []),
        ("random", "def f():\n    return torch.ones(2)", False, ["no"]),
        ("type", "def f(x):\n    raise ValueError(x)", True, []),
        ("calls", "def softmax(x):\n    return x\ndef f(x):\n    return softmax(x)", True, []),
        ("calls", "def f(x):\n    return (lambda: torch.nn.Softmax(1)(x))()", False,
         ["it uses softmax"]),
        ("shapes", "def f(x):\n    return x.sum()", True, []),
        ("shapes", "def f(x):\n    return (x + x[:, None]).sum()", False, ["it makes a table"]),
        ("constant", "def f(x):\n    torch.rand(1)\n    return x + 1", True, []),
        ("constant", "def f(x):\n    torch.manual_seed(3)\n    y = torch.rand(5)\n"
         "    torch.manual_seed(3)\n    return 1 if isinstance(x, int) else y + 1", False,
         ["the check passes only because `f` changes what it is given"]),
        ("type", "def f(x):\n    raise KeyError(x)", False, ["-1"]),
        ("changed", "def f(x):\n    y = x.sum()\n    x += 1\n    return y", False,
         ["the sum is wrong"]),
        ("changed", "def f(x):\n    x.zero_()\n    return 0.0", False,
         ["the check passes only because `f` changes what it is given"]),
    ],
)  # fmt: skip
def test_the_tests_see_data_and_the_page_says_what_differs(examined, name, solution, passed, said):
    assert examined(name, solution)[:2] == (passed, said)


@needs_bubblewrap
def test_a_call_that_takes_too_long_fails_its_test_only(examined):
    endless = "def f(x):\n    while x == 2:\n        pass"
    passed, said, result = examined("late", endless, seconds=3)
    assert (passed, result["stopped"]) == (False, "")
    assert said == ["`f` took longer than the 3 seconds of a check"]


@needs_bubblewrap
def test_no_cell_sees_what_a_test_asks_for_and_a_later_cell_does_not_disturb_it(examined):
    solution = "kept = []\ndef f(x):\n    kept.append(x)\n    return x"
    passed, _, result = examined("raised", solution, after="print(kept)\nf = None")
    assert passed and result["cells"][-1][0]["text"] == "[1]\n"


@needs_bubblewrap
def test_an_input_that_one_test_shares_with_others_is_there_unchanged(examined):
    passed, said, result = examined("shared", "def f(x):\n    x.zero_()\n    return 0")
    assert not passed and said == ["no"] and result["tests"]["last-test"]["passed"]


@needs_bubblewrap
def test_an_original_that_fails_its_own_test_is_said(examined):
    wrong = examined("broken", "f = 1")[2]["wrong"]
    assert wrong == "ValueError: its own cell task-test fails: NotYet: its own test fails"


@needs_bubblewrap
def test_a_cell_below_the_last_test_is_not_run_for_the_tests(examined):
    assert examined("below", "def f(x):\n    return x")[:2] == (True, [])


def test_a_notebooks_outputs_are_kept_up_to_a_sum_of_their_characters(monkeypatch):
    monkeypatch.setattr(exam, "ALL_OUTPUTS", 1_200)
    picture = {"output_type": "display_data", "data": {"image/png": "x" * 300}}
    learner = SimpleNamespace(
        start_cell=lambda: None,
        ask=lambda message: ({"outputs": [picture] * 2}, b""),
    )
    tests = exam.Exam(Prepared([], {}, 0, b"", {}), learner)
    for name in ("one", "two"):
        tests.result["cells"].append([])
        tests._run_cell({"id": name, "source": name}, {})
    assert tests.result["cells"] == [[picture] * 2, [picture]]


LONG = "x" * 100
WORDS = [f"word-{k:02}" for k in range(30)]


@pytest.mark.parametrize(
    ("sentence", "source", "expected"),
    [
        (f"not {LONG}", "check(a, f'not {a}')", f"not {'x' * 40}…"),
        (f"{LONG}", f"check(a, '{LONG}')", LONG),
        (f"1 {LONG} is not 2", "check(a, f'{b} {LONG} is not {a}')", f"1 {LONG[:38]}… is not …"),
        (LONG, "check(a, b)", f"{'x' * 40}…"),
        (f"1 {LONG} is not 2", f"check(a, f'{{b}} {LONG} is not {{a}}')", f"1 {LONG} is not 2"),
        (
            f"1 is 2: {LONG} of it",
            f"check(a, f'{{b}} is {{a}}: ' + '{LONG} of it')",
            f"1 is 2: {LONG} of it",
        ),
        (
            "grid" * 20,  # a value spelt with the author's texts: each is free once
            "check(a, f'{b}')\ngrid = 'grid'",
            f"{'grid' * 11}…",
        ),
        (
            "".join(WORDS),  # and no more than a dozen
            f"check(a, f'{{b}}')\nwords = {WORDS}",
            f"{''.join(WORDS)[: 12 * 7 + 40]}…",
        ),
    ],
)
def test_what_is_put_into_a_sentence_is_shortened_and_the_sentence_is_not(
    sentence, source, expected
):
    assert shortened(sentence, authors_texts([source])) == expected


def test_the_names_that_a_cell_defines_are_its_functions_classes_and_values():
    source = "def f(): a = 1\nclass C: b = 2\nx, (y, _) = 1, (2, 3)\nz: int = 4\nx.w = 5"
    assert names_in(source) == ["f", "C", "x", "y", "z"]
