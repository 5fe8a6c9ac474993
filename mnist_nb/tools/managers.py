"""The manager of kernels for runs, sweeps and refreshes."""

import os
import tempfile
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import default

from mnist_nb.tools.settings import isolated


class IsolatedKernelManager(AsyncKernelManager):
    """Starts kernels of this Python that nobody's own settings reach."""

    @default("kernel_spec_manager")
    def _only_this_python(self):
        return KernelSpecManager(kernel_dirs=[])  # no python3 from another environment

    async def start_kernel(self, **more):
        """Start the kernel, with `more` as AsyncKernelManager takes it."""
        self._settings = tempfile.TemporaryDirectory(
            prefix="mnist-nb-kernel-", ignore_cleanup_errors=True
        )
        await super().start_kernel(env=isolated(os.environ, Path(self._settings.name)), **more)

    async def cleanup_resources(self, restart=False):
        """Remove what the kernel leaves, its settings too."""
        await super().cleanup_resources(restart=restart)
        if not restart:
            self._settings.cleanup()
