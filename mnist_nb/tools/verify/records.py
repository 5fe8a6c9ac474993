"""Verify records: run the notebook inside each again, and say whether the numbers are the same.

The command `verify` calls `verify_record` or, for several, `verify_all`, which uses Dask's
workers, as a sweep does. What running again cannot tell is in docs/verification.md.
"""

import ast
import asyncio
import contextlib
import json
import os
import re
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from jupyter_core.utils import ensure_event_loop

from mnist_nb.tools.endings import ignore_stop_signals
from mnist_nb.tools.runs.cluster import cluster
from mnist_nb.tools.runs.digest import changed_parts, dictionary
from mnist_nb.tools.runs.machine import note_machine
from mnist_nb.tools.runs.results import flatten, latest, notebooks_in
from mnist_nb.tools.runs.run import RunError, execute
from mnist_nb.tools.runs.work import reason
from mnist_nb.tools.verify.outputs import DIFFERS, SAME, WITHIN, Output, compare_cell

EDITED, NOT_RUN = "edited", "not verified"
VERIFIED = (SAME, WITHIN)
MAX_PARTS = 6  # parts that were edited, in one sentence
_ENDED_EARLY = re.compile(r"\.(failed|interrupted)(-\d+)?$")
# parts of the metadata that no number depends on, other than through a part that is compared
_INCIDENTAL = {"git_commit", "cpu_count"}


class Verdict(NamedTuple):
    """What running a record again has shown.

    `why` has sentences on what is wrong besides outputs that differ, `outputs` pairs of a cell's
    name and its compared output, `machine` the differences of the machines ("processor: A, here
    B").
    """

    path: str
    state: str
    why: list[str]
    outputs: Sequence[tuple[str, Output]] = ()
    machine: Sequence[str] = ()
    seconds: float = 0.0


def records_in(paths: list[Path]) -> tuple[list[Path], int]:
    """Return the notebooks in `paths`, and how many others in folders are left out.

    Left out are those of runs that ended early, and those that a sweep has replaced. A file that
    is named is taken, whatever it is.
    """
    named = [path for path in paths if not os.path.isdir(path)]
    found = list(notebooks_in([path for path in paths if os.path.isdir(path)]))
    kept = [path for path in found if not _ENDED_EARLY.search(path.stem)]
    records = [{"file": str(path), "machine": _machine(path)} for path in kept]
    kept = [Path(record["file"]) for record in latest(records)[0]]
    return list(dict.fromkeys([*named, *kept])), len(found) - len(kept)


def _machine(path: Path) -> dict:
    try:
        return dict(json.loads(path.read_bytes())["metadata"]["mnist_nb"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}  # `verify_record` says later what is wrong with it


def verify_all(paths: list[Path], cwd: Path | None = None) -> Iterator[Verdict]:
    """Verify several records at the same time, see `verify_record`; yield verdicts as they come.

    Raises:
        KeyboardInterrupt: the message says how many records were verified.
    """
    from distributed import as_completed  # slow to import

    first = next(filter(None, map(_parsed, paths)), None)
    done = 0
    with contextlib.ExitStack() as stack:
        while_stopping = stack.enter_context(contextlib.ExitStack())
        try:
            client = stack.enter_context(cluster(None, runs=len(paths), notebook=first))
            where = os.getcwd(), cwd and cwd.absolute()
            futures = {client.submit(verify_record, path.absolute(), *where, pure=False): path
                       for path in paths}  # fmt: skip
            for future in as_completed(futures):
                path = futures.pop(future)
                done += 1
                try:
                    yield future.result()._replace(path=str(path))
                except Exception as error:  # Dask's, if the worker was killed
                    yield Verdict(str(path), NOT_RUN, [f"its worker ended ({reason(error)})"])
                future.release()
        except KeyboardInterrupt:
            while_stopping.enter_context(ignore_stop_signals())  # until the workers have ended
            said = f"interrupted; {done} of {len(paths)} records were verified"
            raise KeyboardInterrupt(said) from None


def _parsed(path: Path) -> Mapping | None:
    with contextlib.suppress(Exception):  # `verify_record` says later what is wrong with it
        return nbformat.read(path, as_version=4)


def verify_record(path: Path, start: str, cwd: Path | None = None) -> Verdict:
    """Run the notebook in the record at `path` again, and compare.

    It works in `cwd`, or else in an empty folder from which it can import the modules in `start`.
    """
    started = time.monotonic()
    try:
        stored = read_executed(path)
        new = run_again(stored, path.name, start, cwd)
    except (ValueError, RunError) as error:
        return Verdict(str(path), NOT_RUN, [str(error)], seconds=time.monotonic() - started)
    return judge(path, stored, new)._replace(seconds=time.monotonic() - started)


def read_executed(path: Path) -> nbformat.NotebookNode:
    """Return the executed notebook at `path`; raise ValueError if there is nothing to verify."""
    if not os.path.isfile(path):
        raise ValueError("is not a file")
    if zipfile.is_zipfile(path):
        raise ValueError("is a zip; unzip it first, then verify the folder")
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source]
        failed = [cell.execution_count for cell in code
                  if any(o.output_type == "error" for o in cell.outputs)
                  and "raises-exception" not in cell.metadata.get("tags", [])]  # fmt: skip
    except Exception as error:  # nbformat raises many kinds
        raise ValueError("is not a complete notebook") from error
    if failed:
        raise ValueError(f"is of a run that failed in cell In [{failed[0]}]; run it again")
    if not any(cell.execution_count or cell.outputs for cell in code):
        raise ValueError("was never executed, so it has nothing to verify; run it first")
    return notebook


def run_again(
    stored: nbformat.NotebookNode, name: str, start: str, cwd: Path | None
) -> nbformat.NotebookNode:
    """Execute the cells of a record as they are, without its outputs; return the result."""
    bare = nbformat.from_dict(json.loads(json.dumps(stored)))
    chosen = dictionary(bare.metadata.pop("mnist_nb", None)).get("kernel")
    for cell in bare.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with tempfile.TemporaryDirectory(prefix="mnist-nb-", ignore_cleanup_errors=True) as folder:
        notebook, result, own = Path(folder, "in.ipynb"), Path(folder, name), Path(folder, "files")
        own.mkdir()
        nbformat.write(bare, notebook)
        started = time.monotonic()
        with asyncio.Runner(loop_factory=ensure_event_loop):  # see `runs.work.do_run`
            where = {"folder": str(cwd or own), "start": None if cwd else start}
            execute(notebook, result, {}, quiet=True, kernel=chosen, **where)
        note_machine(result, time.monotonic() - started, chosen)
        return nbformat.read(result, as_version=4)


def judge(path: Path, stored: Mapping, new: Mapping) -> Verdict:
    """Compare the record `stored` with `new`, which running its cells again has given."""
    outputs = [
        (f"cell In [{then['execution_count']}] ({then.get('id', 'no id')})", output)
        for then, now in zip(stored["cells"], new["cells"], strict=True)
        if then["cell_type"] == "code"
        for output in compare_cell(then, now)
    ]
    machine = _machine_differences(stored, new)
    states = {output.state for _, output in outputs}
    state, why = next((s for s in (DIFFERS, WITHIN) if s in states), SAME), []
    if state == WITHIN and not machine and stored["metadata"].get("mnist_nb"):
        state, why = DIFFERS, ["the numbers are within the tolerance, but not the same, although "
                               "the record says that it is from this machine, these versions and "
                               "this code, which should give the same bits"]  # fmt: skip
    edited = _given_and_assigned(stored)
    if parts := changed_parts(stored):
        more = f" and {len(parts) - MAX_PARTS} more parts" * (len(parts) > MAX_PARTS)
        edited.insert(0, f"changed since the run: {', '.join(parts[:MAX_PARTS])}{more}")
    if edited and state in VERIFIED:
        state = EDITED
    return Verdict(str(path), state, [*edited, *why], outputs, machine)


def _machine_differences(stored: Mapping, new: Mapping) -> list[str]:
    """Return what differs between the machines of the two runs."""
    then, now = (dict(flatten(dictionary(n["metadata"].get("mnist_nb")))) for n in (stored, new))
    names = sorted({*then, *now} - _INCIDENTAL)
    return [f"{name}: {then.get(name, 'not stated')}, here {now.get(name, 'not stated')}"
            for name in names if then.get(name) != now.get(name)]  # fmt: skip


def _given_and_assigned(stored: Mapping) -> list[str]:
    """Return a sentence for each parameter that the record lists with another value than it ran.

    Papermill lists the parameters in the metadata, and assigns them in a cell that it has added.
    """
    if "papermill" not in stored["metadata"]:
        return []
    listed = dictionary(dictionary(stored["metadata"]["papermill"]).get("parameters"))
    added = [cell["source"] for cell in stored["cells"]
             if "injected-parameters" in cell["metadata"].get("tags", [])]  # fmt: skip
    if not added:
        return [f"the parameter {name} is listed, but no cell assigns it" for name in listed]
    assigned = dict(_assigned(added[0]))
    return [f"the parameter {name} is listed as {listed.get(name)!r}, but ran as {value!r}"
            for name, value in assigned.items()
            if _json(listed.get(name)) != _json(value)]  # fmt: skip


def _assigned(source: str) -> Iterator[tuple[str, Any]]:
    """Yield the names and values that a cell of plain assignments has."""
    with contextlib.suppress(SyntaxError):
        for node in ast.parse(source).body:
            if isinstance(node, ast.Assign):
                with contextlib.suppress(ValueError, AttributeError):  # float('nan'), say
                    yield node.targets[0].id, ast.literal_eval(node.value)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=repr)
