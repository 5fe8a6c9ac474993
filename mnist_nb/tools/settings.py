"""People's own settings, kept away from the kernels that this project starts.

A notebook shows the same on every machine only if nobody's startup file, `matplotlibrc` or
environment variable has a say in it. JupyterLab does not come here: there, people's own
settings are welcome.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from platformdirs import user_cache_path

from mnist_nb.files import write_whole

# Variables with these beginnings change what notebooks show, print or raise ...
_PERSONAL = ("IPYTHON", "JUPYTER", "MATPLOTLIB", "MPL", "PANDAS_", "PYTHON", "TQDM_")
_PERSONAL += ("CLICOLOR", "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR")
# ... but for these, which say where modules lie and how files are read.
_NEEDED = {
    "PYTHONDONTWRITEBYTECODE", "PYTHONEXECUTABLE", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONPATH",
    "PYTHONPLATLIBDIR", "PYTHONPYCACHEPREFIX", "PYTHONSAFEPATH", "PYTHONUSERBASE", "PYTHONUTF8",
}  # fmt: skip

# Matplotlib prefers a file of this name in the working folder to the one that we name. The kernel
# reads this before it takes up any work, in a namespace of its own.
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
    """Return `environment` for a kernel that nobody's own settings reach.

    What IPython and Jupyter write goes into `folder`, which has to be there, private to the
    process that starts the kernels and removed at its end. Fonts that Matplotlib has found are
    kept in the user's cache folder, or in `folder` where there is no such place.
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
    return harmless | {
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / "jupyter"),
        "JUPYTER_DATA_DIR": str(folder / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(folder),
        "MATPLOTLIBRC": str(folder / "matplotlibrc"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # what Jupyter would take
        "MPLCONFIGDIR": str(_font_cache(folder)),
    }


def _font_cache(otherwise: Path) -> Path:
    """A folder of this project that Matplotlib can write to, kept if possible."""
    lasting = user_cache_path("mnist-nb", appauthor=False) / "matplotlib"
    try:
        lasting.mkdir(parents=True, exist_ok=True)
    except OSError:
        return otherwise
    return lasting if os.access(lasting, os.W_OK) else otherwise
