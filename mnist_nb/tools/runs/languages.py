"""Find the kernel of a notebook, which may be in a different language than Python.

A notebook in Python runs with this environment's Python, whatever its kernel is called, unless a
kernel is chosen.
"""

import re

from mnist_nb.errors import Problem

# `lr <- 0.1`, `lr=0.1`, `val lr = 0.1`, `local lr = 0.1` or `$lr = 0.1` at the start of a line
_ASSIGNED = re.compile(
    r"^[ \t]*(?:(?:let|mut|val|var|const|local|declare|export)[ \t]+)*\$?([^\W\d][\w.]*)[ \t]*"
    r"(?::[^=\n]*?)?(?:<-|:?=(?!=))",
    re.MULTILINE,
)


class KernelError(Problem):
    """The kernel that a notebook names is not installed."""

    exit_code = 2  # of the command


def assigned_names(source: str) -> list[str]:
    """Return the names that a cell in a different language than Python seems to assign."""
    return list(dict.fromkeys(_ASSIGNED.findall(source)))


def is_python(notebook) -> bool:
    """Return whether a notebook says that it is in Python, or does not say."""
    return _language(notebook).lower() in ("python", "ipython", "")


def _language(notebook) -> str:
    spec = notebook.metadata.get("kernelspec") or {}
    said = spec.get("language") or (notebook.metadata.get("language_info") or {}).get("name")
    if said:
        return str(said)
    name = str(spec.get("name") or "")
    if not name or re.search("py|conda|env", name.lower()):
        return "python"
    return getattr(_installed(name), "language", "an unknown language")


def _installed(name: str):
    """Return the kernel spec called `name` on this machine, or None."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        return KernelSpecManager().get_kernel_spec(name)
    except (NoSuchKernel, ValueError, OSError):  # none, or one that cannot be read
        return None


def foreign_kernel(notebook, chosen: str | None = None) -> dict[str, str] | None:
    """Return papermill's options for a kernel that is not this Python's, else None.

    It is the one called `chosen`, or that of a notebook in a different language than Python.

    Raises:
        KernelError: it is not installed, or the notebook names none.
    """
    if chosen:
        if (spec := _installed(chosen)) is None:
            raise KernelError(
                f"the kernel {chosen!r} is not installed here; `jupyter kernelspec list` shows "
                "those that are"
            )
        return {"kernel_name": chosen, "language": spec.language or "python"}
    if is_python(notebook):
        return None
    language, name = _language(notebook), (notebook.metadata.get("kernelspec") or {}).get("name")
    if not name or _installed(str(name)) is None:
        said = f"the kernel {name!r}, which is not installed here" if name else "no kernel"
        raise KernelError(
            f"this notebook is in {language} and names {said}; install the kernel (`jupyter "
            "kernelspec list` shows those that are), or choose one for the notebook in JupyterLab"
        )
    return {"kernel_name": str(name), "language": language}
