"""Run one notebook with parameters through papermill, and keep the executed notebook.

The command `run` calls `run`; workers of a sweep call `execute`.
"""

import contextlib
import itertools
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat

from mnist_nb.errors import Problem
from mnist_nb.files import write_whole
from mnist_nb.tools import kernels
from mnist_nb.tools.endings import ignore_stop_signals
from mnist_nb.tools.runs import folders
from mnist_nb.tools.runs.declared import read_values
from mnist_nb.tools.runs.identity import cut, name_of
from mnist_nb.tools.runs.machine import note_machine
from mnist_nb.tools.runs.watch import Watch

# When a kernel ends, it may close a socket just before another of its threads uses it. This is
# harmless, but tornado would print a traceback.
QUIET = ["--log-level=CRITICAL", "--IPKernelApp.code_to_run="
          "__import__('logging').getLogger('tornado.general').setLevel('CRITICAL')"]  # fmt: skip
# Options for papermill and nbclient.
KERNEL = {"extra_arguments": QUIET, "kernel_manager_class": "mnist_nb.tools.kernels.Manager"}

log = logging.getLogger("mnist_nb")


class RunError(Problem):
    """A run ended early, or its result cannot be stored."""


class NotStarted(RunError):
    """A run cannot start as it was asked for."""

    exit_code = 2  # of the command


def run(
    notebook: Path, given: Mapping[str, str], folder: Path, quiet: bool = False,
    cwd: Path | None = None, seconds: float | None = None,
) -> Path:  # fmt: skip
    """Execute `notebook` with the parameters `given` as strings; return the result's path.

    Unless `quiet`, print the cells' output as it comes. The executed notebook gets a new name in
    `folder`; `notebook` is not changed. The run works in `cwd`, or else in a folder of its own
    beside the result, and is ended after `seconds`.

    Raises:
        ParameterError: a parameter is wrong; no kernel was started.
        NotStarted: there is no such notebook, or the result could not be stored.
        RunError: a cell failed (the message names the file with the notebook so far), or the
            result cannot be stored.
        KeyboardInterrupt: the run was interrupted; its message names that file, too.
    """
    values = read_values(read_notebook(notebook), given)
    name = cut(".".join(filter(None, [notebook.stem, name_of(values)])), 200)
    if not cwd:
        folders.warn_of_paths([values])
    elif not cwd.is_dir():
        raise NotStarted(f"there is no folder {cwd} to run in; correct --cwd")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:  # fail before the run, not after it
            file.write(notebook.read_bytes())
    except OSError as error:
        raise output_folder_error(folder, error) from error
    try:
        unfinished = Path(tempfile.mkdtemp(prefix="mnist-nb-"), notebook.name)
    except OSError as error:
        raise _unwritable("the folder for temporary files", error) from error
    own = None if cwd else folders.new_folder(_names(folder, name))
    started = time.monotonic()
    where = {"folder": str(own or cwd.absolute()), "start": own and os.getcwd()}
    try:
        execute(notebook, unfinished, values, quiet, watch=Watch(seconds), **where)
    except RunError as error:
        with ignore_stop_signals():
            where = _keep_incomplete(unfinished, folder, f"{name}.failed", own)
        raise RunError(f"{error}; {where}") from error
    except KeyboardInterrupt:
        with ignore_stop_signals():
            where = _keep_incomplete(unfinished, folder, f"{name}.interrupted", own)
        raise KeyboardInterrupt(f"the run was interrupted; {where}") from None
    with ignore_stop_signals():
        try:
            note_machine(unfinished, time.monotonic() - started)
        except Exception as error:  # the run is done and its result valid
            reason = " ".join(str(error).split())
            log.warning("cannot add the machine metadata to the executed notebook (%s); its "
                        "results are complete", reason)  # fmt: skip
        return _keep(unfinished, folder, name, own)


def _names(folder: Path, name: str) -> Iterator[Path]:
    """Yield paths for a new notebook `name` in `folder`: n.ipynb, n-2.ipynb, n-3.ipynb, ..."""
    for number in itertools.count(1):
        yield folder / (f"{name}-{number}.ipynb" if number > 1 else f"{name}.ipynb")


def output_folder_error(folder: Path | str, error: OSError, but: str = "") -> RunError:
    """Return the error for an output folder that cannot be written."""
    kind = RunError if but else NotStarted
    return kind(
        f"the output folder {folder} cannot be written ({error.strerror or error}){but}; "
        "choose another with -o"
    )


def read_notebook(notebook: Path):
    """Read a notebook; raise NotStarted if the file is missing or not a notebook."""
    if not os.path.isfile(notebook):
        raise NotStarted(f"cannot find the notebook {notebook}; give the path of an .ipynb file")
    try:
        return nbformat.read(notebook, as_version=4)
    except Exception as error:  # nbformat raises many kinds
        raise NotStarted(f"{notebook} is not a notebook that can be read ({error})") from error


def _unwritable(folder: Path | str, error: OSError) -> RunError:
    """Return the error of a run whose `folder` cannot be written."""
    return RunError(
        f"{folder} cannot be written ({error.strerror or error}); make room there, or set TMPDIR "
        "to a different folder"
    )


def execute(
    notebook: Path, output: Path, values: dict[str, Any], quiet: bool, start: str | None = None,
    **more,
) -> None:  # fmt: skip
    """Run `notebook` through papermill, with its options `more`; raise RunError on failure.

    The notebook can import the modules in `start`, as if it ran there.
    """
    try:
        kernels.use(read_notebook(notebook))
    except OSError as error:
        raise _unwritable(output.parent, error) from error
    import papermill  # slow to import, so only when a run starts

    from mnist_nb.tools.runs import engine

    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    try:
        papermill.execute_notebook(
            notebook, output, values, engine_name=engine.NAME, kernel_name="python3",
            language="python", progress_bar=False, stdout_file=None if quiet else sys.stdout,
            coalesce_streams=True, store_widget_state=False, **_kernel(start), **more,
        )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        if error.ename == engine.ENDED:
            where = f"cell In [{error.exec_count}]" if error.exec_count else "it"
            raise RunError(f"{where} was ended: {error.evalue}") from error
        why = f"{error.ename}: {error.evalue}".splitlines()[0]
        why += folders.hint(why, start) if start else ""
        raise RunError(f"cell In [{error.exec_count}] failed: {why}") from error
    except RuntimeError as error:
        raise RunError(
            f"the kernel does not answer: {error}; check the machine's free memory, then try again"
        ) from error
    except OSError as error:
        raise _unwritable(output.parent, error) from error
    except Exception as error:  # such as papermill's, or a UnicodeEncodeError of the terminal
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise RunError(f"the notebook could not be run ({said})") from error


def _kernel(start: str | None) -> dict[str, Any]:
    """Return the options of a kernel that finds the modules in `start`, too."""
    *quiet, code = QUIET
    code += f"; __import__('sys').path.insert(1, {start!r})" if start else ""
    return KERNEL | {"extra_arguments": [*quiet, code]}


def _keep(unfinished: Path, folder: Path, name: str, own: Path | None = None) -> Path:
    """Move the result into `folder`, with a number added to `name` if that exists.

    What the run has written into its `own` folder goes beside it.
    """
    with contextlib.suppress(OSError):  # reported below
        folder.mkdir(parents=True, exist_ok=True)  # it may have been removed during the run
    for path in _names(folder, name):
        if own and folders.is_of_other(path, own):
            continue
        try:
            write_whole(path, unfinished.read_bytes(), new=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise output_folder_error(
                folder, error, f", so the result stays in {unfinished}"
            ) from error
        shutil.rmtree(unfinished.parent)
        if own:
            try:
                folders.settle(own, path)
            except OSError as error:
                reason = error.strerror or error
                log.warning("the files that the run has written stay in %s (%s)", own, reason)
        return path


def _keep_incomplete(unfinished: Path, folder: Path, name: str, own: Path | None) -> str:
    """Keep the notebook of a run that ended early; return a clause that says where."""
    try:
        read_notebook(unfinished)
    except RunError:  # papermill had not written it yet
        shutil.rmtree(unfinished.parent, ignore_errors=True)
        if own:
            folders.remove_if_empty(own)
        return "no output was written yet"
    try:
        return f"the notebook so far is kept as {_keep(unfinished, folder, name, own)}"
    except RunError as error:
        return str(error)
