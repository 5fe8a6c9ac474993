"""Values between two processes: they stay what they are, shared ones stay shared, no code."""

import copy
import json
import socket
import struct

import numpy as np
import pytest
import torch
from torch import nn

from mnist_nb.model import build_model
from mnist_nb.tools.classroom import channel
from mnist_nb.tools.classroom.channel import WireError, receive, send
from mnist_nb.tools.classroom.wire import Crossing, Unknown, random_state, set_random_state


def over(packed: dict, crossing: Crossing) -> tuple[dict, bytes]:
    return json.loads(json.dumps(packed)), b"".join(crossing.blobs)


def there_and_back(value, change=lambda value: value):
    """What `value` becomes when the other process does `change` to it, and what that returns."""
    here, there = Crossing(), Crossing()
    copied = there.unpack(*over(here.pack(value), here))
    result = change(copied)
    return here.unpack(*over(there.pack(result), there)), here


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return type(a) is type(b) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and (a == b).all()
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a)


VALUES = [
    None, True, 1, -(10**30), 0.1, float("nan"), float("-inf"), "\ud800 text", b"\0bytes",
    range(2, 9, 3), 1 + 2j, [1, [2.5, "x"], (3,)], {"a": 1, (1, 2): [3]}, {1, 2},
    np.float64(0.5),
    np.arange(6).reshape(2, 3), torch.arange(6).reshape(2, 3), torch.tensor(1.5),
    torch.zeros(0, 4),
    torch.ones(3, dtype=torch.bool), torch.ones(2, dtype=torch.bfloat16), torch.eye(3).T[1:],
    torch.ones(4, 1).expand(4, 5),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: ascii(value)[:30])
def test_a_value_comes_back_as_it_is(value):
    copied = Crossing().unpack(*over((one := Crossing()).pack(value), one))
    assert same(copied, value)


def test_what_is_the_same_object_stays_the_same_object():
    x = [torch.zeros(2), []]
    result, _ = there_and_back((x, x, x[0]), lambda given: (given[1], given[2], given[0][1]))
    assert result[0] is x and result[1] is x[0] and result[2] is x[1]


def test_what_is_done_in_place_there_is_done_in_place_here():
    p = torch.zeros(2, requires_grad=True)
    p.grad = torch.ones(2)
    grad, numbers, names = p.grad, [1, 2], {"a": 1}
    generator = torch.Generator().manual_seed(1)
    drawn = torch.rand(3, generator=torch.Generator().manual_seed(1))

    def change(given):
        q, nums, words, gen = given
        with torch.no_grad():
            q += 1
        q.grad.mul_(3)
        nums.append(3)
        words["b"] = 2
        torch.rand(3, generator=gen)

    _, crossing = there_and_back((p, numbers, names, generator), change)
    assert p.tolist() == [1, 1] and p.grad is grad and grad.tolist() == [3, 3]
    assert numbers == [1, 2, 3] and names == {"a": 1, "b": 2}
    assert not torch.equal(torch.rand(3, generator=generator), drawn)
    assert len(crossing.changed) == 5


def test_a_gradient_that_was_replaced_is_another_object():
    p = torch.zeros(2, requires_grad=True)
    p.grad = grad = torch.ones(2)
    there_and_back(p, lambda q: setattr(q, "grad", q.grad * 3))
    assert p.grad is not grad and grad.tolist() == [1, 1] and p.grad.tolist() == [3, 3]
    there_and_back(p, lambda q: setattr(q, "grad", None))
    assert p.grad is None


def test_nothing_is_changed_where_nothing_was_changed():
    model = build_model()
    model(torch.rand(2, 784)).sum().backward()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer.step()
    loader = [(torch.rand(2, 784), torch.tensor([1, 2]))]
    _, crossing = there_and_back((model, optimizer, loader, {"a": (1, [])}))
    assert crossing.changed == set()


def test_an_epoch_there_is_an_epoch_here():
    from mnist_nb.training import train_epoch

    _ = torch.manual_seed(3)
    mine = build_model(dropout=0.0)
    theirs = copy.deepcopy(mine)
    batches = [(torch.rand(8, 784), torch.randint(10, (8,))) for _ in range(3)]
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (mine, theirs)]
    expected = train_epoch(theirs, optimizers[1], batches)
    given, _ = there_and_back((mine, optimizers[0], batches), lambda g: train_epoch(*g))
    assert given == expected
    for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(p, q) and torch.equal(p.grad, q.grad)
        states = [o.state[r]["momentum_buffer"] for o, r in zip(optimizers, (p, q), strict=True)]
        assert torch.equal(*states)


def test_a_new_network_comes_back_and_the_layer_of_the_learners_class_does_not():
    small, _ = there_and_back(build_model(), lambda m: nn.Sequential(m[0], nn.ReLU()).eval())
    assert type(small) is nn.Sequential and not small.training and not small[1].training

    class Own(nn.Linear):
        pass

    layer, _ = there_and_back(1, lambda _: Own(2, 2))
    assert not isinstance(layer, nn.Module)


def test_a_hook_of_a_test_sees_what_went_in_there():
    model, seen = build_model(), []
    model.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    there_and_back(model, lambda m: [m(torch.rand(n, 784)).sum().item() for n in (3, 5)])
    assert seen == [3, 5]


def test_what_cannot_cross_is_a_text():
    class Evil:
        def __repr__(self):
            raise SystemExit

        def __reduce__(self):
            raise AssertionError("nobody asked for code")

    class Loud:
        def __repr__(self):
            return "x" * 10_000

    with pytest.raises(SystemExit):
        there_and_back(1, lambda _: Evil())  # in the learner's process
    value, _ = there_and_back(1, lambda _: Loud())
    assert isinstance(value, Unknown) and len(repr(value)) == 200
    assert isinstance(there_and_back(1, lambda _: torch.eye(2).to_sparse())[0], Unknown)


HUGE = ["tensor", "torch.float32", [10**9, 10**9], [0, 4], [False, True, False], None]
FALSE = [
    {}, {"root": 1}, {"root": ["#", 5], "heap": {}}, {"root": ["pickle", "x"], "heap": {}},
    {"root": 1, "heap": {"x": ["list", []]}}, {"root": 1, "heap": {"1": ["list", 5]}},
    {"root": 1, "heap": {"1": HUGE}}, {"root": 1, "heap": {"1": [*HUGE[:2], [-1, -1], *HUGE[3:]]}},
    {"root": ["bytes", [0, 10**12]], "heap": {}}, {"root": ["bytes", [-4, 2]], "heap": {}},
    {"root": 1, "heap": {"1": ["module", "Linear", {"in_features": 10**12, "out_features": 10**12,
                               "bias": True}, True, [[], [], []], False, []]}},
    {"root": 1, "heap": {"1": ["module", "System", {}, True, [[], [], []], False, []]}},
    {"root": 1,
     "heap": {"1": ["module", "Sequential", {}, True, [[], [], [["0", 7]]], False, []]}},
    {"root": 1, "heap": {"1": ["optimizer", "SGD", [[["params", 5]]], []]}},
    {"root": 1, "heap": {"1": ["array", "|O", [1], [0, 8]]}},
    {"root": 1, "heap": {"7": ["dict", [[["#", 7], 1]]]}},
    {"root": ["range", 1, 2, 0], "heap": {}},
]  # fmt: skip


@pytest.mark.parametrize("message", FALSE, ids=lambda message: str(message)[:60])
def test_a_false_message_is_refused(message):
    with pytest.raises(WireError):
        Crossing().unpack(message, b"four")


@pytest.mark.parametrize("kind", ["tensor", "list", "module"])
def test_an_object_that_comes_back_as_another_kind_is_refused(kind):
    values = {"tensor": torch.zeros(2), "list": [1], "module": nn.Linear(2, 2)}
    for other, value in values.items():
        if other != kind:
            here, there = Crossing(), Crossing()
            packed = there.pack(value)
            here.pack(values[kind])
            with pytest.raises(WireError):
                here.unpack(*over(packed, there))


def generator_at(left: int, at: int) -> bytes:
    state = bytearray(random_state())
    struct.pack_into("<iiQ", state, 8, left, 1, at)
    return bytes(state)


@pytest.mark.parametrize(
    ("left", "at"), [(624, 624), (624, 2), (2, 624), (0, 0), (-5, 600), (1, 625), (1, 2**64 - 1)]
)
def test_a_state_with_which_a_generator_reads_beyond_its_numbers_is_refused(left, at):
    before, state = random_state(), generator_at(left, at)
    with pytest.raises(WireError):
        set_random_state(state)
    assert random_state() == before
    crossing = Crossing()
    packed = crossing.pack(torch.Generator())
    crossing.blobs[0] = state
    with pytest.raises(WireError):
        Crossing().unpack(*over(packed, crossing))


def test_all_states_that_a_generator_can_have_are_taken():
    generator = torch.Generator().manual_seed(1)
    before = random_state()
    for _ in range(1_300):
        torch.randint(2**20, (1,), generator=generator)
        set_random_state(generator.get_state().numpy().tobytes())
    for left, at in ((1, 0), (1, 624), (624, 1), (2, 623)):
        set_random_state(generator_at(left, at))
    set_random_state(before)


def test_a_message_that_is_too_large_or_none_or_half_is_refused(monkeypatch):
    monkeypatch.setattr(channel, "LARGEST", 1000)
    ours, theirs = socket.socketpair()
    send(theirs, {"a": 1}, [b"x" * 1001])
    with pytest.raises(WireError):
        receive(ours, 1)
    for content in (b"not json", b"[" * 100_000, b"[]"):
        ours, theirs = socket.socketpair()
        theirs.sendall(channel._HEAD.pack(len(content), 0) + content)
        with pytest.raises(WireError):
            receive(ours, 1)
    with pytest.raises(TimeoutError):
        theirs.sendall(b"12345")
        receive(ours, 0.1)
    theirs.close()
    with pytest.raises(EOFError):
        receive(ours, 1)
