"""JupyterLab as a learner finds it with `make lab`.

Beside it: other defaults for settings, in labconfig/, and the first arrangement of the window.
"""

from mnist_nb.tools import kernels

c = get_config()  # noqa: F821, what Jupyter puts here

c.LabApp.default_url = "/lab/tree/00_walkthrough.ipynb"
# Nothing is asked of the network: no news, no newer version, no list of extensions.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"
# The first kernel starts while the page loads, and each later one at once.
kernels.use(isolate=False)
