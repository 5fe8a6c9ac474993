"""Whether the page and Python, and each processor, give the same bits."""

import functools
import itertools
import json
import math
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import PROJECT
from exact_runs import BROWSERS, in_page, in_python, program
from torchvision import datasets

from mnist_nb import exact
from mnist_nb.arithmetic import exp, log, philox, product
from mnist_nb.data import fetch
from mnist_nb.model import build_model

ALL = 2**32 - 1
# counter, key, words: the known answers of Random123 (kat_vectors, philox4x32 10)
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ALL, ALL, ALL, ALL), (ALL, ALL), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]  # fmt: skip
SETTINGS = (
    {},
    {"lr": 0.3, "batch_size": 100, "hidden": 16, "dropout": 0.5},
    {"lr": 0.05, "batch_size": 64, "hidden": 33, "dropout": 0.0},
)
FEW = [  # seconds: a last batch that is smaller, a hidden layer of one, and one that diverges
    {"settings": {"seed": 2, "epochs": 2, "batch_size": 33}, "steps": True},
    {"settings": {"seed": ALL, "epochs": 2, "hidden": 1, "lr": 0.5}, "steps": True},
    {"settings": {"seed": 1, "epochs": 3, "lr": 1e10}, "steps": True},
    {"settings": {"seed": 1, "epochs": 1, "lr": 3e38, "dropout": 0.0}, "steps": True},
]
MANY = [
    {"settings": {"seed": seed, "epochs": 2, **settings}, "steps": False}
    for seed, settings in itertools.product(range(5), SETTINGS)
]
EACH_BROWSER = pytest.mark.parametrize("browser", BROWSERS)


@functools.cache
def mnist(count: int) -> dict:
    images = datasets.MNIST(fetch(), train=True)
    return {"images": images.data[:count].reshape(count, 784).numpy(),
            "labels": images.targets[:count].byte().numpy()}  # fmt: skip


def numbers(low: float, high: float) -> list[float]:
    chosen = random.Random(3)
    return [chosen.uniform(low, high) for _ in range(2000)]


def columns() -> list[list[float]]:
    """Columns whose sums, in another order, are altogether different."""
    chosen, found = random.Random(4), []
    for _ in range(10):
        large = [2.0 ** chosen.randrange(20, 90) for _ in range(30)]
        column = [*large, *(-each for each in large), *range(40)]
        found.append(chosen.sample(column, len(column)))
    return found


def asked(runs: list[dict]) -> dict:
    return {"runs": runs, "counters": [case[:2] for case in KNOWN], "columns": columns(),
            "exp": [*numbers(-720, 0), *numbers(-2, 0), 0.0],
            "log": [*numbers(1, 10), 1.0]}  # fmt: skip


def by_python() -> dict:
    """All that a page finds for FEW, by Python."""
    question = asked([])
    matrix = np.array(question["columns"], np.float32).T
    sums = product(np.ones((1, len(matrix)), np.float32), matrix).astype(np.float32)
    return {
        "words": [list(words) for *_, words in KNOWN],
        "exp": exp(np.array(question["exp"])).tolist(),
        "log": log(np.array(question["log"])).tolist(),
        "sums": [sums[0].tolist()] * 3,
        "runs": few_in_python(),
    }


def ask(browser: str, count: int, runs: list[dict], changes=(("", ""),)) -> list[dict]:
    data = mnist(count)
    images, labels = (data[name].tobytes() for name in ("images", "labels"))
    return in_page(browser, asked(runs), images, labels, [program(*each) for each in changes])


@functools.cache
def few_in_python() -> list[dict]:
    return in_python(FEW, mnist(600))


def test_philox_gives_random123s_known_answers():
    for counter, key, words in KNOWN:
        assert tuple(map(int, philox(counter, key))) == words


def test_exp_and_log_are_right_to_the_last_place_or_two():
    for ours, theirs, values in (
        (exp, math.exp, numbers(-700, 0)),
        (log, math.log, numbers(1, 10)),
    ):
        right = np.array([theirs(value) for value in values])
        assert (abs(ours(np.array(values)) - right) <= 3e-16 * right + 2e-16).all()
    assert exp(np.array([-math.inf, -701.0, 0.0])).tolist() == [0, 0, 1]


SHAPES = [(1, 784, 64), (32, 784, 2), (7, 300, 1), (65, 32, 10), (3, 20_000, 3), (2, 9, 9000)]


@pytest.mark.parametrize("rows, inner, columns", SHAPES)
def test_a_product_adds_from_first_to_last(rows, inner, columns):
    drawn = np.random.default_rng(0)
    a = drawn.normal(size=(inner, rows)).astype(np.float32).T  # as for the gradients
    b = drawn.normal(size=(inner, columns)).astype(np.float32)
    sums = np.zeros((rows, columns))
    for k in range(inner):
        sums += a[:, k, None].astype(float) * b[k].astype(float)
    assert product(a, b).tobytes() == sums.tobytes()
    assert product(a.copy(), b).tobytes() == sums.tobytes()


@EACH_BROWSER
def test_a_page_gives_the_losses_and_weights_of_python_to_the_last_bit(browser):
    (found,) = ask(browser, 600, FEW)
    assert found == by_python()
    ends = [run["reports"][-1].get("diverged", False) for run in found["runs"]]
    assert ends == [False, False, True, True]


@pytest.mark.whole
@EACH_BROWSER
def test_five_seeds_with_three_settings_give_the_losses_of_python_on_a_fifth_of_mnist(browser):
    (found,) = ask(browser, 12_000, MANY)
    assert found["runs"] == many_in_python()


@functools.cache
def many_in_python() -> list[dict]:
    return in_python(MANY, mnist(12_000))


CHANGES = {
    "forward": ("for (let i = 0; i < inputs; i++) {", "for (let i = inputs; i-- > 0;) {"),
    "gradients": ("for (let r = 0; r < n; r++) {\n    const at",
                  "for (let r = n; r-- > 0;) {\n    const at"),
    "back": ("for (let o = 0; o < outputs; o++) sum +=", "for (let o = outputs; o-- > 0;) sum +="),
    "exp": ("1 + r * sum / n", "1 + r / n * sum"),
    "log": ("(x - 1) / (x + 1)", "1 - 2 / (x + 1)"),
    "softmax": ("(let o = r; o < r + CLASSES; o++) sum", "(let o = r + CLASSES; o-- > r;) sum"),
    "single": ("new Float64Array(outputs)", "new Float32Array(outputs)"),
}  # fmt: skip


def test_an_addition_elsewhere_in_the_page_is_noticed():
    python = by_python()
    python["runs"] = python["runs"][:1]
    found = ask("chromium", 600, FEW[:1], [("", ""), *CHANGES.values()])
    assert [each == python for each in found] == [True] + [False] * len(CHANGES)


# One process per instruction set, as NumPy chooses its loops when it is imported.
CHECKSUMS = """
import sys, json, numpy; sys.path.insert(0, "tests/learning")
from exact_runs import in_python
found = in_python(json.loads(sys.argv[2]), numpy.load(sys.argv[1]))
print(*(run["sha256"] for run in found))
"""
LOOPS = np._core._multiarray_umath.__cpu_dispatch__
ENVIRONMENTS = {
    "default": {"NPY_DISABLE_CPU_FEATURES": " ".join(LOOPS)},
    "avx2": {"NPY_DISABLE_CPU_FEATURES": " ".join(n for n in LOOPS if n != "X86_V3")},
    "avx512": {},
    "MKL_CBWR=COMPATIBLE": {"MKL_CBWR": "COMPATIBLE"},
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_checksum_of_the_weights_is_the_same_with_every_instruction_set(name, tmp_path):
    np.savez(tmp_path / "few.npz", **mnist(600))
    environment = os.environ | ENVIRONMENTS[name]
    if name in ("default", "avx2", "avx512"):
        environment["ATEN_CPU_CAPABILITY"] = name
    command = [sys.executable, "-c", CHECKSUMS, tmp_path / "few.npz", json.dumps(FEW)]
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [run["sha256"] for run in few_in_python()]


def test_the_five_steps_are_those_of_torch():
    state = exact.new_state(exact.new_network(seed=5))
    model = build_model(dropout=0.0)
    layers = list(zip(state.network["layers"], (model[0], model[2], model[5]), strict=True))
    with torch.no_grad():
        for ours, theirs in layers:
            theirs.weight.copy_(torch.tensor(ours["weight"].T))
            theirs.bias.copy_(torch.tensor(ours["bias"]))
    exact.take_batch(state, mnist(600), np.arange(32))
    exact.forward(state)
    x, y = torch.tensor(state.activations[0]), torch.tensor(state.labels).long()
    theirs = torch.nn.functional.cross_entropy(model(x), y)
    theirs.backward()
    torch.optim.SGD(model.parameters(), lr=0.3).step()
    assert exact.loss(state) == pytest.approx(theirs.item(), rel=1e-6)
    exact.backward(state)
    exact.step(state, 0.3)
    for ours, theirs in layers:
        np.testing.assert_allclose(ours["weight"].T, theirs.weight.detach(), atol=1e-6)
        np.testing.assert_allclose(ours["bias"], theirs.bias.detach(), atol=1e-6)
