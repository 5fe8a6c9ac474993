"""Pack values for the other process, of the tests or the learner's: data only, never code.

A message is JSON and raw bytes (`channel`). `Crossing` packs the values of one call. Lists,
tensors, models and the like have numbers, so that shared objects stay shared, and so that what the
other process did to an object is done to the same object here. What comes back is checked before
it is used.
"""

import struct
from collections.abc import Callable

import numpy as np
import torch

from mnist_nb.tools.classroom.channel import WireError
from mnist_nb.tools.classroom.wire_torch import TORCH

_TEXT = 200  # characters that stand for a value that cannot cross
_SCALARS = (type(None), bool, int, float, str)
_HOLDERS = {"list": list, "dict": dict, "set": (set, frozenset)}
_ARRAYS = {np.dtype(code).str for code in "?bBhHiIlLqQefdFD"}


class Unknown:
    """Stands for a value of a type that does not cross, such as a learner's own class."""

    def __init__(self, kind: str, text: str):
        self.kind, self.text = kind, text

    def __repr__(self) -> str:
        return self.text


class Crossing:
    """The values of one call, with the numbers of the objects among them."""

    def __init__(self, function: Callable = lambda number: None):
        self.objects: dict[int, object] = {}
        self.numbers: dict[int, int] = {}
        self.functions: list[Callable] = []  # those that went out, for the other side to call
        self.changed: set[int] = set()  # the numbers of known objects that came back different
        self.frozen: set[int] = set()  # the numbers of those that stay as they are
        self.blobs: list[bytes] = []
        self.raw = b""
        self.told: dict[int, object] = {}  # what was last packed or unpacked of an object
        self._function = function

    def pack(self, value: object) -> dict:
        """Return `value` as JSON, with every object met so far; its bytes are in `blobs`."""
        self._nodes, self.blobs, self._at = {}, [], 0
        root = self.out(value)
        for number, known in list(self.objects.items()):
            if number not in self._nodes:
                self._nodes[number] = None
                self._nodes[number] = self._node(known, number)
        return {"root": root, "heap": {str(n): node for n, node in self._nodes.items()}}

    def out(self, value: object) -> object:
        """Return a value inside of a message."""
        if type(value) in _SCALARS:
            return value
        if isinstance(value, np.generic) and value.dtype.str in _ARRAYS:
            return ["scalar", value.dtype.str, self.blob(value.tobytes())]
        if isinstance(value, tuple):
            return ["tuple", [self.out(item) for item in value]]
        if isinstance(value, (bytes, bytearray)):
            return ["bytes", self.blob(bytes(value))]
        if isinstance(value, complex):
            return ["complex", value.real, value.imag]
        if isinstance(value, range):
            return ["range", value.start, value.stop, value.step]
        for kind in (int, float, str):  # a learner's own subclass
            if isinstance(value, kind):
                return {str: str.__str__, int: int.__int__, float: float.__float__}[kind](value)
        return ["#", self._number(value)]

    def blob(self, content: bytes) -> list[int]:
        """Add bytes to the message; return where they stand."""
        self.blobs.append(content)
        self._at += len(content)
        return [self._at - len(content), len(content)]

    def _number(self, value: object) -> int:
        number = self.numbers.get(id(value))
        if number is None:
            number = max(self.objects, default=0) + 1
            self._know(number, value)
        if number not in self._nodes:
            self._nodes[number] = None  # an object may hold itself
            self._nodes[number] = self._node(value, number)
        return number

    def _know(self, number: int, value: object) -> None:
        self.objects[number], self.numbers[id(value)] = value, number

    def _node(self, value: object, number: int) -> list:
        for kind, handler in TORCH.items():
            if handler.fits(value):
                return [kind, *handler.pack(self, value, number)]
        if isinstance(value, list):
            return ["list", [self.out(item) for item in value]]
        if isinstance(value, dict):
            return ["dict", [[self.out(k), self.out(v)] for k, v in value.items()]]
        if isinstance(value, (set, frozenset)):
            return ["set", [self.out(item) for item in value]]
        if isinstance(value, np.ndarray) and value.dtype.str in _ARRAYS:
            return ["array", value.dtype.str, list(value.shape), self.blob(value.tobytes())]
        if callable(value) and not isinstance(value, type):
            self.functions.append(value)
            return ["function", number]
        return ["other", type(value).__name__[:_TEXT], _text_of(value)]

    def unpack(self, message: dict, raw: bytes) -> object:
        """Return the value that was packed; known objects become what they are there.

        Raises:
            WireError: the message holds something that does not fit.
        """
        try:
            self.raw = raw
            self._nodes = {int(number): node for number, node in message["heap"].items()}
            known = {number for number in self._nodes if number in self.objects}
            for number, node in self._nodes.items():
                if number not in known:
                    self._know(number, self._new(number, node))
            for number, node in self._nodes.items():
                if number in self.frozen:
                    continue
                if self._fill(self.objects[number], node, number) and number in known:
                    self.changed.add(number)
            return self.back(message["root"])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError,
                OverflowError, MemoryError) as error:  # fmt: skip
            raise WireError("what came back does not fit") from error

    def back(self, node: object) -> object:
        """Return the value of a part of a message."""
        if type(node) in _SCALARS:
            return node
        kind, *rest = node
        if kind == "#":
            return self.objects[rest[0]]
        if kind == "tuple":
            return tuple(self.back(item) for item in rest[0])
        if kind == "bytes":
            return self.bytes_at(rest[0])
        if kind == "range":
            return range(*map(int, rest))
        if kind == "complex":
            return complex(float(rest[0]), float(rest[1]))
        if kind == "scalar" and rest[0] in _ARRAYS:
            return np.frombuffer(self.bytes_at(rest[1]), np.dtype(rest[0]))[0]
        raise WireError(f"a {str(kind)[:20]!r} does not cross")

    def check_state(self, state: bytes) -> None:
        """Raise WireError if bytes are no state of a generator."""
        check_random_state(state)

    def bytes_at(self, place: list[int]) -> bytes:
        """Return the bytes at a place that `blob` gave."""
        start, size = place
        if not 0 <= start <= start + size <= len(self.raw):
            raise WireError("it ends too early")
        return self.raw[start : start + size]

    def _new(self, number: int, node: list) -> object:
        kind, *rest = node
        if kind in TORCH:
            return TORCH[kind].new(self, *rest)
        if kind == "array" and rest[0] in _ARRAYS:
            flat = np.frombuffer(self.bytes_at(rest[2]), np.dtype(rest[0]))
            return flat.reshape([int(size) for size in rest[1]]).copy()
        if kind == "function":
            return self._function(number)
        if kind == "other":
            return Unknown(str(rest[0])[:_TEXT], str(rest[1])[:_TEXT])
        return {"list": list, "dict": dict, "set": set}[kind]()

    def _fill(self, value: object, node: list, number: int) -> bool:
        """Make `value` what the message says; return whether that changed it."""
        kind, *rest = node
        if kind in TORCH and TORCH[kind].fits(value):
            return TORCH[kind].fill(self, value, number, *rest)
        if kind == "array" and isinstance(value, np.ndarray):
            new = self._new(number, node)
            same = new.tobytes() == value.tobytes()
            value[...] = value if same else new
            return not same
        if kind in ("function", "other"):
            return False
        if not isinstance(value, _HOLDERS[kind]):
            raise WireError(f"a {type(value).__name__} came back as a {kind}")
        if kind == "dict":
            new = [(self.back(k), self.back(v)) for k, v in rest[0]]
            old = list(value.items())
        else:
            new, old = [self.back(item) for item in rest[0]], list(value)
        if len(new) == len(old) and all(_alike(a, b) for a, b in zip(new, old, strict=True)):
            return False
        if isinstance(value, frozenset):
            return False
        value.clear()
        (value.extend if kind == "list" else value.update)(new)
        return True


def _alike(a: object, b: object) -> bool:
    """Return whether two items are the same object, or equal values without a number."""
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        return all(map(_alike, a, b))
    plain = type(a) is type(b) and isinstance(a, (*_SCALARS, bytes, range, complex))
    return a is b or (plain and (a == b or a != a))


def _text_of(value: object) -> str:
    try:
        return repr(value)[:_TEXT]
    except Exception:
        return f"<{type(value).__name__}>"


def random_state() -> bytes:
    """Return the state of PyTorch's common generator."""
    return torch.get_rng_state().numpy().tobytes()


def check_random_state(state: bytes) -> None:
    """Raise WireError if a generator would read beyond its 624 numbers: PyTorch does not check."""
    if len(state) >= 24:
        (left,), (at,) = struct.unpack_from("<i", state, 8), struct.unpack_from("<Q", state, 16)
        if left < 1 or left + at > 625:
            raise WireError("a generator's state that came back is not valid")


def set_random_state(state: bytes) -> None:
    """Set the state of PyTorch's global generator; raise WireError if `state` is not valid."""
    check_random_state(state)
    try:
        torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    except (RuntimeError, TypeError, ValueError) as error:
        raise WireError("a generator's state that came back is not valid") from error
