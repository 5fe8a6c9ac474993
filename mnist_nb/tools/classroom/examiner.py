"""Run the tests of the exercises, in a process that none of the learner's code can reach.

`grading` starts this module once. It executes what stands before the first task of an exercise,
then forks a process for each notebook. That process has the learner's process run the learner's
cells, and runs the original's test cells itself, with stand-ins for the learner's functions.
Only data goes between the two.
"""

import ast
import contextlib
import copy
import gc
import io
import json
import os
import re
import signal
import socket
import sys
import traceback
from typing import NamedTuple

import torch

from mnist_nb.exercises import NotYet
from mnist_nb.tools.classroom.stand_in import Learner, StandIn, Stopped, TooLate, Unusable
from mnist_nb.tools.classroom.wire import Crossing, random_state, receive, send, set_random_state

_LONGEST = 300  # characters of a sentence
_PRINTED = 2_000
_HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS", re.S)


class Prepared(NamedTuple):
    """An exercise: its original's cells, the names after those before its first task."""

    cells: list[dict]
    space: dict
    first: int
    random: bytes
    changes: dict[str, list]


# --- the originals


def names_in(source: str) -> list[str]:
    """Return the names that the outermost lines of a cell define."""
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.append(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
    return [name for name in dict.fromkeys(found) if name != "_"]


def prepare(cells: list[dict]) -> Prepared:
    """Execute an original up to its first task; see what its solutions change."""
    space = {"__name__": "__main__"}
    first = next((k for k, cell in enumerate(cells) if cell["solution"]), len(cells))
    for cell in cells[:first]:
        _execute(cell, space)
    prepared = Prepared(cells, space, first, random_state(), {})
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.close(reading)
        with os.fdopen(writing, "w") as file:
            json.dump(_reference(prepared), file)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read()
    os.waitpid(child, 0)
    changes = json.loads(said or '"its Python ended"')
    if isinstance(changes, str):
        raise ValueError(changes)
    return prepared._replace(changes=changes)


def _execute(cell: dict, space: dict) -> None:
    if cell["code"]:
        exec(compile(cell["source"], f"<{cell['id']}>", "exec"), space)


def _reference(prepared: Prepared) -> dict | str:
    """Execute the original whole; return which inputs each solution changes, or what failed."""
    changes: dict[str, list] = {}
    space = dict(prepared.space)
    for cell in prepared.cells[prepared.first :]:
        try:
            _execute(cell, space)
        except Exception as error:
            return f"its own cell {cell['id']} fails: {type(error).__name__}: {error}"
        for name in names_in(cell["source"]) if cell["solution"] and cell["code"] else ():
            if callable(space.get(name)) and not isinstance(space[name], type):
                space[name] = _watched(space[name], changes.setdefault(name, []))
    return changes


def _watched(function, changed: list):
    def watched(*given, **named):
        inputs = [*enumerate(given), *named.items()]
        before = [_content(value) for _, value in inputs]
        result = function(*given, **named)
        for (key, value), content in zip(inputs, before, strict=True):
            if key not in changed and _content(value) != content:
                changed.append(key)
        return result

    return watched


def _content(value: object) -> tuple:
    crossing = Crossing()
    return json.dumps(crossing.pack(value)), crossing.blobs


# --- a learner's notebook


class Exam:
    """The tests of one notebook."""

    def __init__(self, prepared: Prepared, learner: Learner):
        self.prepared, self.learner = prepared, learner
        self.space = prepared.space
        learner.changes = {name: set(keys) for name, keys in prepared.changes.items()}
        self.ours = {cell["id"]: (k, cell) for k, cell in enumerate(prepared.cells)}
        self.values: list[str] = []  # names of the tasks since the last test
        self.result = {"cells": [], "tests": {}, "stopped": "", "found": []}

    def run(self, cells: list[dict]) -> dict:
        """Run the cells of a repaired notebook; return the outputs and the tests that passed."""
        try:
            for cell in cells:
                self.result["cells"].append([])
                if cell["code"]:
                    self._run_cell(cell)
            said, _ = self.learner.ask({"do": "end"})
            self.result["found"] = [str(words)[:100] for words in said.get("found", [])][:20]
        except Stopped as stopped:
            self.result["stopped"] = str(stopped)
        return self.result

    def _run_cell(self, cell: dict) -> None:
        self.learner.start_cell()
        said, _ = self.learner.ask({"do": "cell", "source": cell["source"]})
        self.result["cells"][-1] = said.get("outputs", [])
        number, ours = self.ours.get(cell["id"], (-1, None))
        if not ours or ours["manual"]:
            return
        if ours["solution"]:
            names = names_in(ours["source"])
            functions = [name for name in names if name in self.prepared.changes]
            self.space.update({name: StandIn(self.learner, name) for name in functions})
            self.values += [name for name in names if name not in functions]
        elif ours["test"]:
            late = bool(said.get("late"))
            self.result["tests"][cell["id"]] = self._late() if late else self._tested(ours)
        elif number >= self.prepared.first:
            with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
                self._take_values()
                _execute(ours, self.space)

    def _late(self) -> dict:
        return _failed("TimeoutError", f"the check took longer than {self.learner.seconds} seconds")

    def _tested(self, cell: dict) -> dict:
        """Run a test cell; if inputs changed that should not, also as if they had not.

        Otherwise a function could change what it is compared with.
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
                _execute(cell, self.space)
        except Exception as error:
            return _failed(*_said(error, cell))
        text = printed.getvalue()[:_PRINTED]
        outputs = [{"output_type": "stream", "name": "stdout", "text": text}] if text else []
        return {"passed": True, "outputs": outputs}


def _failed(name: str, sentence: str) -> dict:
    sentence = sentence if len(sentence) <= _LONGEST else f"{sentence[:_LONGEST]}…"
    error = {"output_type": "error", "ename": name, "evalue": sentence, "traceback": []}
    return {"passed": False, "outputs": [error]}


def _said(error: Exception, cell: dict) -> tuple[str, str]:
    """Return what the page says of an error: of hidden tests only what their author wrote."""
    learners = getattr(error, "learners", None)  # the type's name, if the learner's code raised it
    if isinstance(error, (TooLate, Unusable)):
        return ("TimeoutError" if isinstance(error, TooLate) else "NotYet"), str(error)
    if isinstance(error, NotYet) and learners is None:
        return "NotYet", str(error)
    name = type(error).__name__
    if not _is_hidden(error, cell):
        return (name, str(error)) if learners != "" else ("Exception", str(error))
    if learners is None:
        return "NotYet", "with other inputs, the check could not use what came back"
    return "NotYet", f"with other inputs, your code raised {learners or 'an error'}"


def _is_hidden(error: Exception, cell: dict) -> bool:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
             if frame.filename == f"<{cell['id']}>"]  # fmt: skip
    hidden = [
        (cell["source"].count("\n", 0, found.start()) + 1,
         cell["source"].count("\n", 0, found.end()) + 1)
        for found in _HIDDEN.finditer(cell["source"])
    ]  # fmt: skip
    return any(first <= line <= last for line in lines for first, last in hidden)


# --- the process


def main() -> None:
    """Serve the grader: the originals first, then a notebook for each pair of sockets."""
    control = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as null:
        os.dup2(null.fileno(), 0)
    torch.set_num_threads(1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    originals, _ = receive(control)
    prepared: dict[str, Prepared] = {}
    children: set[int] = set()
    while True:
        asked, numbers, *_ = socket.recv_fds(control, 1, 2)
        if not asked:
            return
        channel, answers = (socket.socket(fileno=number) for number in numbers)
        with channel, answers, contextlib.suppress(EOFError, OSError):
            job, _ = receive(answers, 60)
            name = job["exercise"]
            try:
                if name not in prepared:
                    prepared[name] = prepare(originals[name])
                    gc.collect()
                    gc.freeze()
            except Exception as error:
                send(answers, {"wrong": f"{type(error).__name__}: {error}"})
                continue
            child = os.fork()
            if not child:
                control.close()
                _examine(prepared[name], channel, answers, job)
            children.add(child)
        for child in list(children):
            if os.waitpid(child, os.WNOHANG)[0]:
                children.discard(child)


def _examine(prepared: Prepared, channel: socket.socket, answers: socket.socket, job: dict) -> None:
    try:
        set_random_state(prepared.random)
        learner = Learner(channel, job["seconds"])
        send(answers, Exam(prepared, learner).run(job["cells"]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
