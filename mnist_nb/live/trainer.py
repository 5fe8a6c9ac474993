"""Let a page train the walkthrough's network: `trainer.js`, and a file with the images."""

import ast
import base64
import gzip
import hashlib
import re
import zlib
from pathlib import Path

import numpy as np

from mnist_nb.data import fetch
from mnist_nb.live import Live
from mnist_nb.parameters import RULES, TRAINING_IMAGES
from mnist_nb.record import MIME

FILE = "mnist.js"
# the settings that the page lets readers choose
SETTINGS = ("lr", "batch_size", "hidden", "dropout", "seed", "epochs")
PIXELS = 28 * 28
STILL = """<figure><img width="640" height="360" src="data:image/svg+xml;base64,{}"
alt="Two curves, the losses of a run in the page, fall over five epochs. Two dashed ones, of the
published losses, lie below them."><figcaption>In a browser with JavaScript, a button here trains
the network, and these curves grow while it learns. Circles are training losses, squares validation
losses; those on dashed lines are the published ones.</figcaption></figure>"""


def on_page(notebook) -> tuple[str, dict[str, bytes]]:
    """Return the HTML that trains a network on the page of `notebook`, and the files beside it.

    The defaults and what they mean come from its cell tagged `parameters`, the losses to compare
    with from its cell that assigns `published` and from its record.

    Raises:
        DataError: the images are not there, and could not be downloaded.
    """
    images = _content("train-images-idx3-ubyte", 16) + _content("train-labels-idx1-ubyte", 8)
    examples, labels = _first_of_each(
        _content("t10k-images-idx3-ubyte", 16), _content("t10k-labels-idx1-ubyte", 8)
    )
    data = {
        "fields": _fields(notebook),
        "published": _published(notebook),
        "text": _last_of_text(notebook),
        "images": {
            "file": FILE,
            "count": TRAINING_IMAGES,
            "sha256": hashlib.sha256(images).hexdigest(),
            "crc32": zlib.crc32(images),
        },
        "examples": examples,
        "labels": labels,
    }
    picture = base64.b64encode(Path(__file__).with_name("trainer.svg").read_bytes()).decode()
    live = Live("trainer", data, STILL.format(picture), "Train the network in the page.")
    return live.html, {FILE: as_script(images)}


def as_script(images: bytes) -> bytes:
    """Return a script that sets MNIST_NB_IMAGES to `images`, as base64 of a gzip.

    Level 6 takes 3 seconds, level 9 more than half a minute, for 2% less. The same images give
    the same bytes.
    """
    packed = base64.b64encode(gzip.compress(images, 6, mtime=0))
    return b'globalThis.MNIST_NB_IMAGES = "' + packed + b'";\n'


def _content(name: str, header: int) -> bytes:
    """Return the bytes of a file of MNIST, which `fetch` has checked, without its header."""
    return (Path(fetch("MNIST")) / "MNIST" / "raw" / name).read_bytes()[header:]


def _first_of_each(images: bytes, labels: bytes) -> tuple[np.ndarray, list[int]]:
    """Return the first image of each label, as bytes, and these labels."""
    known, first = np.unique(np.frombuffer(labels, np.uint8), return_index=True)
    return np.frombuffer(images, np.uint8).reshape(-1, PIXELS)[first].ravel(), known.tolist()


def _fields(notebook) -> list[dict]:
    """Return for each of SETTINGS its default and its comment, and what it takes."""
    (source,) = [c.source for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    declared = re.findall(r"^(\w+): \w+ = (.+?)  # (.+)$", source, re.MULTILINE)
    known = {name: (ast.literal_eval(value), meaning) for name, value, meaning in declared}
    return [
        {"name": name, "value": known[name][0], "meaning": known[name][1],
         "words": rule.words, "low": rule.low, "high": rule.high, "whole": rule.kind is int}
        for name, rule in ((name, RULES[name]) for name in SETTINGS)
    ]  # fmt: skip


def _published(notebook) -> dict[str, list[float]]:
    """Return what the notebook assigns to `published`."""
    (source,) = [c.source for c in notebook.cells if c.source.startswith("published = ")]
    return ast.literal_eval(source.partition(" = ")[2])


def _last_of_text(notebook) -> dict | None:
    """Return the last epoch of the notebook's record, and its number of training images.

    Return None without a record or an epoch, or if the run diverged: its record then has words in
    place of numbers, and nothing to compare with.
    """
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    for record in (o["data"][MIME] for o in outputs if MIME in o.get("data", {})):
        if record["history"]:
            names = ("train_loss", "val_loss", "val_accuracy")
            last = {name: record["history"][-1][name] for name in names}
            if all(isinstance(value, float) for value in last.values()):
                return last | {"images": record["parameters"]["train_size"]}
    return None
