"""What `make lab` changes about JupyterLab's server; jupyter_lab_config.py switches it on."""

import copy
from typing import Any

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelspec import KERNEL_NAME, get_kernel_dict
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager


class Contents(AsyncLargeFileManager):
    """Hand out notebooks with the metadata that JupyterLab would give them on opening.

    JupyterLab replaces a notebook's `kernelspec` and `language_info` by those of the kernel it
    starts, which has this Python's version. That would count as a change, and closing an untouched
    notebook would ask whether to save. The file stays as it is.
    """

    async def get(self, path: str, *args: Any, **more: Any) -> dict:
        """Return the model of the file at `path`, see `AsyncLargeFileManager.get`."""
        model = await super().get(path, *args, **more)
        if model["type"] == "notebook" and model["content"]:
            metadata = model["content"]["metadata"]
            if metadata.get("kernelspec", {}).get("name") == KERNEL_NAME:
                metadata |= _kernels_own()
        return model


def _kernels_own() -> dict:
    spec = get_kernel_dict()
    known = {"name": KERNEL_NAME, "display_name": spec["display_name"],
             "language": spec["language"]}  # fmt: skip
    return {"kernelspec": known, "language_info": copy.deepcopy(IPythonKernel.language_info)}
