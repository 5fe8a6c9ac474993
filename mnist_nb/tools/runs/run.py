"""Run one notebook with parameters through papermill, and keep the executed notebook.

The command `run` calls `run`; workers of a sweep call `execute`.
"""

import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat

from mnist_nb.tools import kernels
from mnist_nb.tools.endings import ignore_stop_signals
from mnist_nb.tools.runs import folders
from mnist_nb.tools.runs.declared import is_tagged
from mnist_nb.tools.runs.failures import NotStarted, RunError
from mnist_nb.tools.runs.given import read_values
from mnist_nb.tools.runs.identity import cut, name_of
from mnist_nb.tools.runs.keeping import keep, keep_incomplete, new_names, try_to_write
from mnist_nb.tools.runs.languages import KernelError, foreign_kernel
from mnist_nb.tools.runs.machine import note_machine
from mnist_nb.tools.runs.places import is_address
from mnist_nb.tools.runs.reads import check_read
from mnist_nb.tools.runs.watch import Watch

# When a kernel ends, it may close a socket just before another of its threads uses it. This is
# harmless, but tornado would print a traceback.
QUIET = ["--log-level=CRITICAL", "--IPKernelApp.code_to_run="
          "__import__('logging').getLogger('tornado.general').setLevel('CRITICAL')"]  # fmt: skip
# Options for papermill and nbclient.
KERNEL = {"extra_arguments": QUIET, "kernel_manager_class": "mnist_nb.tools.kernels.Manager"}

log = logging.getLogger("mnist_nb")


def run(
    notebook: Path, given: Mapping[str, str], folder: Path | str, quiet: bool = False,
    insist: bool = False, cwd: Path | None = None, seconds: float | None = None,
    kernel: str | None = None,
) -> Path | str:  # fmt: skip
    """Execute `notebook` with the parameters `given` as strings; return the result's path.

    `folder` is a path or an address such as s3://..., and so is the result's path.

    Unless `quiet`, print the cells' output as it comes. The executed notebook gets a new name in
    `folder`; `notebook` is not changed. With `insist`, a parameter is accepted even if no cell
    reads it. The run works in `cwd`, or else in a folder of its own beside the result, and is
    ended after `seconds`. `kernel` replaces the one that the notebook would run with.

    Raises:
        ParameterError: a parameter is wrong; no kernel was started.
        NotStarted: there is no such notebook, or the result could not be stored.
        RunError: a cell failed (the message names the file with the notebook so far), or the
            result cannot be stored.
        KernelError: its kernel is not installed.
        KeyboardInterrupt: the run was interrupted; its message names that file, too.
    """
    read = read_notebook(notebook)
    foreign_kernel(read, kernel)
    check_read(read, given, insist)
    values = read_values(read, given)
    name = cut(".".join(filter(None, [notebook.stem, name_of(values)])), 200)
    if not cwd:
        folders.warn_of_paths([values])
    elif not cwd.is_dir():
        raise NotStarted(f"there is no folder {cwd} to run in; correct --cwd")
    try_to_write(notebook, folder)
    try:
        unfinished = Path(tempfile.mkdtemp(prefix="mnist-nb-"), notebook.name)
    except OSError as error:
        raise _unwritable("the folder for temporary files", error) from error
    own = None
    if not cwd and is_address(folder):
        own = unfinished.parent / "files"
        own.mkdir()
    elif not cwd:
        own = folders.new_folder(new_names(folder, name))
    started = time.monotonic()
    where = {"folder": str(own or cwd.absolute()), "start": own and os.getcwd()}
    try:
        execute(notebook, unfinished, values, quiet, kernel=kernel, watch=Watch(seconds), **where)
    except RunError as error:
        with ignore_stop_signals():
            where = keep_incomplete(unfinished, folder, f"{name}.failed", own)
        raise RunError(f"{error}; {where}") from error
    except KeyboardInterrupt:
        with ignore_stop_signals():
            where = keep_incomplete(unfinished, folder, f"{name}.interrupted", own)
        raise KeyboardInterrupt(f"the run was interrupted; {where}") from None
    with ignore_stop_signals():
        try:
            note_machine(unfinished, time.monotonic() - started, kernel)
        except Exception as error:  # the run is done and its result valid
            log.warning("cannot add the machine metadata to the executed notebook (%s); its "
                        "results are complete", " ".join(str(error).split()))  # fmt: skip
        return keep(unfinished, folder, name, own)


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


def _python(start: str | None) -> dict[str, Any]:
    """Return papermill's options for a kernel that finds the modules in `start`, too."""
    *quiet, code = QUIET
    code += f"; __import__('sys').path.insert(1, {start!r})" if start else ""
    return {"kernel_name": "python3", "language": "python", **KERNEL,
            "extra_arguments": [*quiet, code]}  # fmt: skip


def _named(number: int | None, index: int, read, values: Mapping[str, Any]) -> str:
    """Return how a message names the cell at `index`, which papermill's own cell may precede."""
    if not number:
        return "it"
    tagged = [i for i, cell in enumerate(read.cells) if is_tagged(cell, "parameters")]
    later = bool(values and tagged) and index > tagged[0] + 1
    return f"cell In [{number}]" + f" (In [{number - 1}] of your notebook)" * later


def execute(
    notebook: Path, output: Path, values: dict[str, Any], quiet: bool, start: str | None = None,
    kernel: str | None = None, **more,
) -> None:  # fmt: skip
    """Run `notebook` through papermill, with its options `more`; raise RunError on failure.

    The notebook can import the modules in `start`, as if it ran there.
    """
    try:
        read = read_notebook(notebook)
        options = foreign_kernel(read, kernel) or _python(start)
        kernels.use(read)
    except KernelError as error:
        raise RunError(str(error)) from error
    except OSError as error:
        raise _unwritable(output.parent, error) from error
    import papermill  # slow to import, so only when a run starts

    from mnist_nb.tools.runs import engine, injection

    injection.register()
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    try:
        papermill.execute_notebook(
            notebook, output, values, engine_name=engine.NAME, progress_bar=False,
            stdout_file=None if quiet else sys.stdout, coalesce_streams=True,
            store_widget_state=False, **options, **more,
        )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        where = _named(error.exec_count, error.cell_index, read, values)
        if error.ename == engine.ENDED:
            raise RunError(f"{where} was ended: {error.evalue}") from error
        why = f"{error.ename}: {error.evalue}".splitlines()[0]
        why += folders.hint(why, start) if start else ""
        raise RunError(f"{where} failed: {why}") from error
    except RuntimeError as error:
        raise RunError(
            f"the kernel does not answer: {error}; check the machine's free memory, then try again"
        ) from error
    except OSError as error:
        raise _unwritable(output.parent, error) from error
    except Exception as error:  # such as papermill's, or a UnicodeEncodeError of the terminal
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise RunError(f"the notebook could not be run ({said})") from error
