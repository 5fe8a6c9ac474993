"""Train the exact network for some seeds: `make exact-study`.

Writes studies/exact.csv: a row per seed and epoch, with the losses and the accuracy that
`mnist_nb/exact.py` gives for the walkthrough's parameters. Every machine gets the same numbers, so
they are stored in full. Takes some minutes. `make exact-study ARGS=times` measures an epoch
instead: in a page, with exact.py, and as the walkthrough does.
"""

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
import psutil
import torch
from torchvision import datasets

from mnist_nb import live
from mnist_nb.data import fetch
from mnist_nb.exact import train
from mnist_nb.loading import load, split_loaders
from mnist_nb.model import build_model
from mnist_nb.training import train as train_with_torch

TARGET = Path(__file__).with_suffix(".csv")
FETCH = """async () => {
    const bytes = async name => new Uint8Array(await (await fetch(name)).arrayBuffer());
    window.data = {images: await bytes("images"), labels: await bytes("labels")};
    window.network = await import("/network.js");
}"""
EPOCH = """() => {
    for (const report of network.train(data, {epochs: 1}))
        if (report.val_loss) return report.val_loss;
}"""


def mnist() -> dict:
    """Return MNIST's training images, as bytes, and their labels."""
    files = datasets.MNIST(fetch())
    images = files.data.reshape(-1, 784).numpy()
    return {"images": images, "labels": files.targets.byte().numpy()}


def study(seed: int) -> list[dict]:
    """Train with `seed`; return a row of the table per epoch."""
    return [{"seed": seed} | row for row in train(mnist(), seed=seed) if "val_loss" in row]


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds of `work`, in this process and in the children that it has already.

    A browser, for example, has to be started before.
    """
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]

    def used() -> float:
        times = [process.cpu_times() for process in processes if process.is_running()]
        return sum(each.user + each.system for each in times)

    before = used()
    work()
    return used() - before


def in_a_page(data: dict) -> float:
    """Return the CPU seconds of an epoch in Chromium, of all its processes."""
    sys.path.append(str(Path(__file__).parents[1] / "tests" / "site"))
    from browser import chromium

    folder = Path(live.__file__).parent
    files = {name: array.tobytes() for name, array in data.items()}
    files |= {f"{name}.js": (folder / f"{name}.js").read_bytes()
              for name in ("network", "arithmetic")} | {"": b"<!doctype html>"}  # fmt: skip

    def answer(route) -> None:
        name = route.request.url.rpartition("/")[2]
        kind = "text/javascript" if name.endswith(".js") else "text/html"
        route.fulfill(body=files[name], content_type=kind)

    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(0)
        page.route("**/*", answer)
        page.goto("http://page.test/")
        page.evaluate(FETCH)  # the data goes through the driver, which takes long
        return cpu_seconds(lambda: print("page:", page.evaluate(EPOCH)))


def with_torch(images) -> None:
    """Train an epoch as the walkthrough does."""
    torch.manual_seed(0)
    model = build_model()
    sgd = torch.optim.SGD(model.parameters(), lr=0.01)
    list(train_with_torch(model, sgd, *split_loaders(images), epochs=1))


def times() -> None:
    """Print the CPU seconds of an epoch with validation, which hardly depend on other work."""
    torch.set_num_threads(1)
    data, images = mnist(), load()
    found = {
        "page": in_a_page(data),
        "exact.py": cpu_seconds(lambda: print("exact:", list(train(data, epochs=1))[-1])),
        "walkthrough": cpu_seconds(lambda: with_torch(images)),
    }
    print("CPU seconds per epoch: " + ", ".join(f"{k} {v:.1f}" for k, v in found.items()))


def main(count: int = 32) -> None:
    """Train with the seeds from 0 to count - 1, on all cores, and write the table."""
    rows = []
    begun = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for seed, part in enumerate(pool.map(study, range(count))):
            rows += part
            print(f"seed {seed} done after {time.monotonic() - begun:.0f} seconds", flush=True)
    pd.DataFrame(rows).to_csv(TARGET.with_suffix(".part"), index=False)
    TARGET.with_suffix(".part").replace(TARGET)
    print(f"written: {TARGET}")


if __name__ == "__main__":
    times() if sys.argv[1:] == ["times"] else main(*map(int, sys.argv[1:2]))
