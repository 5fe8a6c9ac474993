"""JupyterLab as a learner finds it with `make lab`.

Beside it: other defaults for settings, in labconfig/, the first arrangement of the window, and
the look of figures on dark themes, in custom/.
"""

from pathlib import Path

from jupyter_core.paths import jupyter_config_dir

from mnist_nb.tools import kernels
from mnist_nb.tools.lab import Contents

c = get_config()  # noqa: F821, what Jupyter puts here

# The file browser begins among the notebooks, and reaches all of the project: runs/, docs/.
c.LabApp.default_url = "/lab/tree/notebooks/00_walkthrough.ipynb"
c.ContentsManager.preferred_dir = "notebooks"
# Opening a notebook does not count as a change.
c.ServerApp.contents_manager_class = Contents
# Where Jupyter looks for custom.css: a user's own comes first.
custom = [Path(folder, "custom") for folder in (jupyter_config_dir(), Path(__file__).parent)]
c.LabApp.custom_css = True
c.ServerApp.tornado_settings = {"static_custom_path": [str(folder) for folder in custom]}
# Nothing is asked of the network: no news, no newer version, no list of extensions.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"
# The first kernel starts while the page loads, and each later one at once.
kernels.use(isolate=False)
