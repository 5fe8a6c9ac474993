"""Execute a committed notebook again and save it in normal form, for `make refresh`."""

from pathlib import Path

import nbformat

from mnist_nb.errors import Problem
from mnist_nb.files import write_whole
from mnist_nb.tools import kernels
from mnist_nb.tools.runs.run import KERNEL
from mnist_nb.tools.verify.normal_form import broken_rules, normalise, serialised


class RefreshError(Problem):
    """A notebook could not be executed, or its outputs break a rule."""


def refresh(path: Path) -> bool:
    """Execute the notebook at `path` and replace the file; return whether it has changed.

    Raises:
        RefreshError: no kernel starts, a cell fails, the result breaks a rule, or the file cannot
            be read or written, or was changed in the meantime. The file stays unchanged.
    """
    from nbclient import NotebookClient  # slow to import
    from nbclient.exceptions import CellExecutionError

    try:
        before = path.read_bytes()
        notebook = normalise(nbformat.reads(before.decode(), as_version=4))
    except Exception as error:  # nbformat raises many kinds
        reason = " ".join(str(error).split())
        raise RefreshError(f"{path} is not a notebook that can be read ({reason})") from error
    try:
        kernels.use(notebook)
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            resources={"metadata": {"path": str(path.parent)}},  # the working folder
            coalesce_streams=True,
            record_timing=False,
            store_widget_state=False,
            **KERNEL,
        )
        with client.setup_kernel():  # not execute(), whose Ctrl-C handler raises an error
            for number, cell in enumerate(notebook.cells):
                client.execute_cell(cell, number)
    except CellExecutionError as error:
        raise RefreshError(
            f"{path}: cell {number} ({cell.id}) failed: {error.ename}: {error.evalue}"
        ) from error
    except RuntimeError as error:
        raise RefreshError(
            f"{path}: the kernel does not answer: {error}; check the machine's free memory, then "
            "try again"
        ) from error
    except OSError as error:
        raise RefreshError(
            f"{path}: a kernel needs a folder for temporary files that can be written "
            f"({error.strerror or error}); set TMPDIR to one"
        ) from error
    after = serialised(notebook)
    if found := broken_rules(after):
        raise RefreshError(f"{path}: {'; '.join(found)}")
    try:
        if path.read_bytes() != before:
            raise RefreshError(f"{path} was changed while it was executed; refresh it again")
        if after.encode() == before:
            return False
        write_whole(path, after.encode())
    except OSError as error:
        raise RefreshError(
            f"{path} stays unchanged, as the folder {path.parent} cannot be written "
            f"({error.strerror}); fix that, then refresh again"
        ) from error
    return True
