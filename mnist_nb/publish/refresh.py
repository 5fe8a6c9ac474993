"""Execute a committed notebook again and store it in normal form."""

from pathlib import Path

import nbformat

from mnist_nb.errors import Problem
from mnist_nb.publish.normal_form import normalise, problems, serialised


class RefreshError(Problem):
    """A notebook could not be executed, or its outputs are not fit to be committed."""


def refresh(path: Path) -> bool:
    """Execute the notebook at `path`; replace its file on success; was anything changed?

    Raises:
        RefreshError: a cell failed, or the result breaks a rule. The file stays as it was.
    """
    from nbclient import NotebookClient  # slow to import
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    before = path.read_text(encoding="utf-8")
    notebook = normalise(nbformat.reads(before, as_version=4))
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},  # the working folder
        extra_arguments=["--log-level=ERROR"],
        coalesce_streams=True,
        record_timing=False,
        store_widget_state=False,
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise RefreshError(f"{path}: a cell failed: {error.ename}: {error.evalue}") from error
    except DeadKernelError as error:
        raise RefreshError(f"{path}: the kernel died while a cell was running") from error
    after = serialised(notebook)
    if found := problems(after):
        raise RefreshError(f"{path}: {'; '.join(found)}")
    if after == before:
        return False
    part = path.with_name(f".{path.name}.part")
    part.write_text(after, encoding="utf-8")
    part.replace(path)
    return True
