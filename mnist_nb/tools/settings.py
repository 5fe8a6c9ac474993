"""Keep the user's personal settings away from the kernels that this project starts.

Startup files, `matplotlibrc` and environment variables can change what a notebook shows, so the
kernels for runs and checks start without them. JupyterLab keeps them, and does not call this.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from platformdirs import user_cache_path

from mnist_nb.files import write_whole

# Variables with these prefixes change what notebooks show, print or raise ...
_PERSONAL = ("IPYTHON", "JUPYTER", "MATPLOTLIB", "MPL", "PANDAS_", "PYTHON", "TQDM_")
_PERSONAL += ("CLICOLOR", "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR")
# ... except these, which say where modules are and how files are read.
_NEEDED = {
    "PYTHONDONTWRITEBYTECODE", "PYTHONEXECUTABLE", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONPATH",
    "PYTHONPLATLIBDIR", "PYTHONPYCACHEPREFIX", "PYTHONSAFEPATH", "PYTHONUSERBASE", "PYTHONUTF8",
}  # fmt: skip

# Unless the environment says otherwise: a sum's last bits depend on the number of threads.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

# Matplotlib prefers a matplotlibrc in the working folder to the one in MATPLOTLIBRC. The kernel
# runs this code first, in its own namespace, so that Matplotlib is imported in another folder.
_KERNEL_CONFIG = """\
import os

if os.path.exists("matplotlibrc"):
    here = os.getcwd()
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    try:
        import matplotlib
    finally:
        os.chdir(here)
"""


def isolated(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return a copy of `environment` for a kernel, without the user's personal settings.

    A kernel computes with one thread, unless `environment` or its notebook sets a number.
    IPython and Jupyter write into `folder`, which is created if necessary; the caller removes it
    in the end. Matplotlib keeps its list of fonts in the user's cache folder, or in `folder` if
    that cannot be written. Relative paths in PYTHONPATH count from this process's working folder,
    not from the kernel's, so the kernel finds the modules that this process finds.
    """
    profile = folder / "ipython" / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    if not (config := profile / "ipython_kernel_config.py").exists():
        write_whole(config, _KERNEL_CONFIG.encode())  # other kernels may read it at this moment
    (folder / "matplotlibrc").touch()
    harmless = {
        name: value
        for name, value in environment.items()
        if name in _NEEDED or not name.startswith(_PERSONAL)
    }
    if paths := [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]:
        harmless["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, paths))
    return (
        _ONE_THREAD
        | harmless
        | {
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_CONFIG_DIR": str(folder / "jupyter"),
            "JUPYTER_DATA_DIR": str(folder / "jupyter"),
            "JUPYTER_RUNTIME_DIR": str(folder),
            "MATPLOTLIBRC": str(folder / "matplotlibrc"),
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # Jupyter's default
            "MPLCONFIGDIR": str(_font_cache(folder)),
        }
    )


def _font_cache(otherwise: Path) -> Path:
    """Return this project's cache folder for Matplotlib, or `otherwise` if it is read-only."""
    lasting = user_cache_path("mnist-nb", appauthor=False) / "matplotlib"
    try:
        lasting.mkdir(parents=True, exist_ok=True)
    except OSError:
        return otherwise
    return lasting if os.access(lasting, os.W_OK) else otherwise
