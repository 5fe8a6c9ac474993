"""Run the tests of one notebook, with stand-ins for the functions that the learner wrote.

`examiner` forks a process for each `Exam`.
"""

import ast
import contextlib
import io
import os
import re
import socket
import traceback
from collections.abc import Iterable

from mnist_nb.exercises import NotYet
from mnist_nb.tools.classroom.originals import Prepared, execute, names_in
from mnist_nb.tools.classroom.stand_in import (
    ALL_OUTPUTS,
    Learner,
    StandIn,
    Stopped,
    TooLate,
    Unusable,
    trimmed,
)

_LONGEST, _PRINTED = 300, 2_000  # characters of a sentence, and of all that is printed
_PUT_IN = 40  # characters of all values in a sentence together
_FREE = 12  # texts from the author's code that a sentence may repeat in full, each once
_SEEN = 5  # outputs of a visible check whose texts the page may repeat
_HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS", re.S)


class Exam:
    """The tests of one notebook."""

    def __init__(self, prepared: Prepared, learner: Learner):
        self.prepared, self.learner = prepared, learner
        self.space = prepared.space
        self._room = ALL_OUTPUTS
        learner.changes = {name: set(keys) for name, keys in prepared.changes.items()}
        self.tests = {cell["id"]: cell["test"] for cell in prepared.cells}
        self.texts = authors_texts(
            cell["source"] for cell in prepared.cells if cell["code"] and not cell["solution"]
        )
        self.said: dict[str, list] = {}  # what the visible checks said in the learner's process
        self.values: list[str] = []  # values, not functions, to fetch before the next test
        self.result = {"cells": [], "tests": {}, "stopped": "", "late": [], "found": []}

    def run(self, cells: list[dict]) -> dict:
        """Run the cells of a repaired notebook; return the outputs and the tests that passed.

        The tests begin when all cells have run. Each asks a copy of the learner's process, kept
        right after its own cell had run. So no cell can see or show what the tests ask for.
        """
        kept: dict[str, socket.socket | None] = {}
        try:
            for cell in cells:
                self.result["cells"].append([])
                if cell["code"]:
                    self._run_cell(cell, kept)
            said, _ = self.learner.ask({"do": "end"})
            self.result["found"] = [str(words)[:100] for words in said.get("found", [])][:20]
        except Stopped as stopped:
            at = cells[len(self.result["cells"]) - 1]["id"]
            self.result["stopped"] = f'{stopped} ("{at}"), and nothing below it was run'
            self.result["cells"][-1] = _failed("Stopped", str(stopped))["outputs"]
        try:
            self.learner.begin_tests()
            self._test(kept)
        except Stopped as stopped:
            self.result["stopped"] = self.result["stopped"] or str(stopped)
        return self.result

    def _run_cell(self, cell: dict, kept: dict) -> None:
        self.learner.start_cell()
        said, _ = self.learner.ask({"do": "cell", "source": cell["source"]})
        self.result["cells"][-1], self._room = trimmed(said.get("outputs", []), self._room)
        if said.get("late"):
            self.result["late"].append(cell["id"])
        if self.tests.get(cell["id"]):
            self.said[cell["id"]] = [
                (output.get("ename"), output.get("evalue"))
                for output in self.result["cells"][-1][:_SEEN]
                if isinstance(output, dict)
            ]
            kept[cell["id"]] = None if said.get("late") else self.learner.keep()

    def _test(self, kept: dict) -> None:
        """Run the original's cells, with the solutions' names from the learner's process."""
        cells = self.prepared.between()
        for number, cell in enumerate(cells):
            name = cell["id"]
            if cell["solution"]:
                self._stand_in(cell)
            elif not cell["code"]:
                continue
            elif not cell["test"]:
                following = (c["id"] for c in cells[number:] if kept.get(c["id"]))
                self.learner.channel = kept.get(next(following, ""))
                with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
                    self._take_values()
                    execute(cell, self.space)
            elif name not in kept:  # the learner's process had ended
                return
            elif not kept[name]:
                said = f"the check took longer than {self.learner.seconds} seconds"
                self.result["tests"][name] = _failed("TimeoutError", said)
            else:
                self.learner.channel = kept[name]
                self.result["tests"][name] = self._tested(cell)
            self.learner.restore()

    def _stand_in(self, cell: dict) -> None:
        if cell["manual"] or not cell["code"]:
            return
        for name in names_in(cell["source"]):
            if name in self.prepared.changes:
                self.space[name] = StandIn(self.learner, name)
            else:
                self.values.append(name)

    def _tested(self, cell: dict) -> dict:
        """Run a test cell, twice if a function changed inputs that it should leave alone.

        The second run ignores such changes, as they could alter what a result is compared with.
        """
        self.learner.start_cell()
        waiting, go = os.pipe()
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(go)
            if os.read(waiting, 1):
                self.learner.ignoring = True
                with contextlib.suppress(BaseException):
                    os.write(writing, b"y" if self._attempt(cell)["passed"] else b"n")
            os._exit(0)
        os.close(waiting)
        os.close(writing)
        try:
            self.learner.changed = set()
            result = self._attempt(cell)
            if result["passed"] and self.learner.changed:
                os.write(go, b"1")
                if os.read(reading, 1) != b"y":
                    names = ", ".join(f"`{name}`" for name in sorted(self.learner.changed))
                    return _failed("NotYet", f"the check passes only because {names} changes "
                                             "what it is given")  # fmt: skip
            return result
        finally:
            os.close(go)
            os.close(reading)
            os.waitpid(child, 0)

    def _take_values(self) -> None:
        for name in self.values:
            there, value = self.learner.value(name)
            self.space.pop(name, None)
            if there:
                self.space[name] = value

    def _attempt(self, cell: dict) -> dict:
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                self._take_values()
                self.values = []
                execute(cell, self.space)
        except Exception as error:
            return _failed(*_said(error, cell, self.said.get(cell["id"], []), self.texts))
        text = shortened(printed.getvalue().replace("\n  ", " "), self.texts)
        output = {"output_type": "stream", "name": "stdout", "text": text}
        return {"passed": True, "outputs": [output] * bool(text)}


def _failed(name: str, sentence: str) -> dict:
    sentence = sentence if len(sentence) <= _LONGEST else f"{sentence[:_LONGEST]}…"
    error = {"output_type": "error", "ename": name, "evalue": sentence, "traceback": []}
    return {"passed": False, "outputs": [error]}


def _said(error: Exception, cell: dict, seen: list, texts: list[str]) -> tuple[str, str]:
    """Return what the page says of an error: of hidden tests only what their author wrote.

    `seen` is what the visible check said in the learner's process, before any test.
    """
    learners = getattr(error, "learners", None)  # the type's name, if the learner's code raised it
    if isinstance(error, TooLate):
        return "TimeoutError", str(error)
    if isinstance(error, Unusable):
        return "NotYet", str(error)
    name = (learners or "Exception") if learners is not None else type(error).__name__
    text = str(error.args[0]) if learners is not None else str(error)  # a KeyError's has quotes
    if (name, text) in seen:
        return name, text
    if isinstance(error, NotYet) and learners is None:
        return name, shortened(str(error), texts)
    if not _is_hidden(error, cell):
        shown = learners is None  # after the tests above, its text could show what they asked
        return (name, _short(text)) if shown else ("NotYet", f"your code raised {name} here")
    if learners is None:
        return "NotYet", "with other inputs, the check could not use what came back"
    return "NotYet", f"with other inputs, your code raised {learners or 'an error'}"


def authors_texts(sources: Iterable[str]) -> list[str]:
    """Return the texts of over 3 characters in an author's code, the longest first."""
    found = set()
    for source in sources:
        with contextlib.suppress(SyntaxError):
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return sorted((text for text in found if len(text) > 3), key=len, reverse=True)


def shortened(sentence: str, texts: list[str]) -> str:
    """Return a check's sentence, with what was put between its author's `texts` shortened.

    Otherwise a function could return, and so show, what the tests asked for before.
    """
    parts, at, left, used = [], 0, _PUT_IN, set()  # each text once, or they could spell a value
    sentence = sentence[:_PRINTED]
    while at < len(sentence):
        fits = (t for t in texts if sentence.startswith(t, at) and t not in used)
        text = next(fits, "") if len(used) < _FREE else ""
        used |= {text} - {""}
        left -= not text
        if text or left >= 0:
            parts.append(text or sentence[at])
        elif parts[-1:] != ["…"]:
            parts.append("…")
        at += len(text) or 1
    return "".join(parts)


def _short(text: str) -> str:
    return text if len(text) <= _PUT_IN else f"{text[:_PUT_IN]}…"


def _is_hidden(error: Exception, cell: dict) -> bool:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
             if frame.filename == f"<{cell['id']}>"]  # fmt: skip
    hidden = [
        (cell["source"].count("\n", 0, found.start()) + 1,
         cell["source"].count("\n", 0, found.end()) + 1)
        for found in _HIDDEN.finditer(cell["source"])
    ]  # fmt: skip
    return any(first <= line <= last for line in lines for first, last in hidden)
