"""Show that the reader's browser gives the numbers of Python: `proof.js`, with its data."""

import zlib

import numpy as np

from mnist_nb import exact
from mnist_nb.live import Live


def checksum(network: dict) -> int:
    """Return the CRC-32 checksum of all parameters of `network`, in their order."""
    parts = [layer[name] for layer in network["layers"] for name in ("weight", "bias")]
    return zlib.crc32(b"".join(part.tobytes() for part in parts))


def proof(data: dict, **settings) -> Live:
    """Train the exact network on `data` in Python; return a part that trains it in the browser.

    Args:
        data: {"images": n x 784 bytes, "labels": n bytes}; all of it goes into the page.
        settings: of `exact.train`; `seed` and `hidden` have to be among them.
    """
    network = exact.new_network(settings["seed"], settings["hidden"])
    reports = exact.train(data, network=network, **settings)
    python = [report for report in reports if "step" not in report]
    rows = "".join(f"<tr><td>{r['epoch']}</td><td>{r['train_loss']}</td></tr>\n" for r in python)
    still = (
        "<table>\n<thead><tr><th scope='col'>epoch</th>"
        f"<th scope='col'>training loss in Python</th></tr></thead>\n<tbody>\n{rows}</tbody>\n"
        "</table>\n<p>A browser can train the same network: in JupyterLab once you have run the "
        "cells above and this one, and on the chapter's page if JavaScript is on.</p>"
    )
    page = {"images": np.asarray(data["images"], np.uint8).ravel(), "labels": data["labels"],
            "settings": settings, "python": python, "checksum": checksum(network)}  # fmt: skip
    said = ", ".join(str(report["train_loss"]) for report in python)
    return Live("proof", page, still, f"The training losses of each epoch, in Python: {said}.")
