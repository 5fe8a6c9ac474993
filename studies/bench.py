"""Measure how long training, notebooks and sweeps take: `make bench`.

No test asserts these times. As machines differ and are shared, quote the ratios, not the seconds.
The literal path converts each image with `ToTensor()` in every epoch, as the source does;
`preload` converts all images once, before the training.
Writes build/bench.json, build/bench.png and build/bench_*.png.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil

from mnist_nb.tools.project import PROJECT, WALKTHROUGH
from mnist_nb.tools.runs.cluster import cores
from mnist_nb.tools.runs.results import read_record
from mnist_nb.tools.runs.run import run
from mnist_nb.tools.runs.sweep import carry_out, prepare

if __name__ == "__main__":  # the workers of a sweep import this file again, and need none of these
    import torch
    from torch.utils.data import DataLoader, Subset
    from torchvision import datasets, transforms

    from mnist_nb import figures
    from mnist_nb.data import fetch
    from mnist_nb.ensemble import Member, train_ensemble
    from mnist_nb.loading import Preloaded, whole_batch
    from mnist_nb.model import build_model
    from mnist_nb.training import train_epoch

BUILD = PROJECT / "build"
IMAGES, BATCH = 55_000, 32
CORES = cores()


def seconds(work: Callable[[], object], times: int = 2) -> float:
    """Return the seconds of the fastest of `times` calls; slower ones were disturbed."""
    best = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def epoch_of(dataset, count: int = IMAGES, epochs: int = 1, collate=None) -> Callable[[], None]:
    """Return a function that trains `epochs` as the walkthrough does, on `count` images."""

    def work() -> None:
        torch.manual_seed(0)
        model = build_model()
        sgd = torch.optim.SGD(model.parameters(), lr=0.01)
        loader = DataLoader(Subset(dataset, range(count)), BATCH, collate_fn=collate)
        for _ in range(epochs):
            train_epoch(model, sgd, loader)

    return work


def scikit_learn(images: Preloaded) -> Callable[[], None]:
    """Return a function that trains an epoch in scikit-learn: same layers and SGD, no dropout."""
    from sklearn.neural_network import MLPClassifier

    x, y = images.x.flatten(1)[:IMAGES].numpy(), images.y[:IMAGES].numpy()

    def work() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one epoch does not converge
            MLPClassifier(
                (64, 64), solver="sgd", alpha=0, batch_size=BATCH, learning_rate_init=0.01,
                max_iter=1, shuffle=False, momentum=0, nesterovs_momentum=False,
            ).fit(x, y)  # fmt: skip

    return work


def lightning(literal) -> Callable[[], None]:
    """Return a function that trains an epoch with Lightning's Trainer, without preloading."""
    import logging

    import pytorch_lightning

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    class Module(pytorch_lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = build_model()

        def training_step(self, batch, _):
            x, y = batch
            return torch.nn.functional.cross_entropy(self.model(x.view(x.size(0), -1)), y)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    def work() -> None:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            pytorch_lightning.Trainer(
                max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
                enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
            ).fit(Module(), DataLoader(Subset(literal, range(IMAGES)), BATCH))  # fmt: skip

    return work


def ensemble(images: Preloaded, models: int, count: int = IMAGES, epochs: int = 1):
    """Return a function that trains `models` models together on `count` images."""
    members = [Member(seed) for seed in range(models)]

    def work() -> None:
        list(train_ensemble(images, members, epochs, train_size=count, val_size=1))

    return work


def arithmetic() -> float:
    """Return the seconds of an epoch if its arithmetic ran as fast as a large matrix product."""
    n = 2048
    a = torch.randn(n, n)
    a @ a
    speed = 2 * n**3 / seconds(lambda: a @ a, times=5)
    weights = 784 * 64 + 64 * 64 + 64 * 10
    forward_and_back = 3 * 2 * weights - 2 * 784 * 64  # no gradient for the pixels
    return IMAGES * forward_and_back / speed


def walkthrough() -> dict[str, float]:
    """Time the walkthrough with and without `preload`, and with 32 images and one epoch.

    The last time is that of all but the training: the kernel, the imports and the data.
    """
    times, losses = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, preload in (("preload", "True"), ("literal path", "False")):
            started = time.perf_counter()
            path = run(WALKTHROUGH, {"preload": preload}, Path(folder), quiet=True)
            times[f"walkthrough, 5 epochs, {name}"] = time.perf_counter() - started
            losses[preload] = read_record(path)["history"]
        started = time.perf_counter()
        run(WALKTHROUGH, {"epochs": "1", "train_size": "32", "val_size": "1"}, Path(folder), True)
        times["walkthrough, 32 images: kernel, imports, data"] = time.perf_counter() - started
    if losses["True"] != losses["False"]:
        raise SystemExit(
            "The losses with and without preload differ, but have to be equal. Compare what "
            "mnist_nb/loading.py returns with torchvision's ToTensor()."
        )
    return times


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its descendants that have ended."""
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(t.ru_utime + t.ru_stime for t in times)


def workers_memory() -> float:
    """Return the resident memory of Dask's workers, in MB per worker."""
    sizes = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            if "spawn_main" in " ".join(process.cmdline()):
                sizes.append(process.memory_info().rss / 1e6)
    return sum(sizes) / max(1, len(sizes))


def tiny_notebook(folder: str) -> Path:
    """Write a notebook that computes next to nothing, without torch, and return its path."""
    cells = [nbformat.v4.new_code_cell("x = 0", metadata={"tags": ["parameters"]}),
             nbformat.v4.new_code_cell("print(x + 1)")]  # fmt: skip
    path = Path(folder, "tiny.ipynb")
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def sweeps() -> dict[str, float]:
    """Time sweeps: 300 runs of a tiny notebook, and 24 runs of the walkthrough, twice.

    The walkthrough's runs have one epoch, of 32 images and of 55,000. CPU seconds count what this
    sweep's processes computed, so they depend little on what else the machine does.
    """
    found, small = {}, {"train_size": "32", "val_size": "1"}
    kinds = ("300 tiny runs", None), ("24 runs, 32 images", small), ("24 runs, an epoch", {})
    for name, more in kinds:
        runs = int(name.split()[0])
        with tempfile.TemporaryDirectory() as folder:
            key = "x" if more is None else "seed"
            path = tiny_notebook(folder) if more is None else WALKTHROUGH
            plan = {"grid": {key: f"0:{runs}"}}
            plan["parameters"] = {} if more is None else {"epochs": "1"} | more
            used, started, memory = cpu_seconds(), time.perf_counter(), []
            for _ in carry_out(prepare(path, plan, folder), quiet=True):
                memory.append(workers_memory())
            took, used = time.perf_counter() - started, cpu_seconds() - used
        found[f"{name}: seconds in all"] = took
        found[f"{name}: seconds per run"] = took / runs
        found[f"{name}: CPU seconds per run"] = used / runs
        found[f"{name}: MB per worker after a tenth"] = memory[runs // 10]
        found[f"{name}: MB per worker at the end"] = memory[-CORES - 1]
    return found


def reading(number: int = 5_000) -> dict[str, float]:
    """Time `mnist-nb results` on `number` records of the walkthrough, with all their pictures."""
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:  # more than a gigabyte
        for seed in range(number):
            Path(folder, f"{seed}.ipynb").write_bytes(WALKTHROUGH.read_bytes())
        command = [sys.executable, "-m", "mnist_nb.tools.cli", "results", folder]
        took = seconds(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))
    return {f"results on {number:,} records": took}


def growth(images: Preloaded) -> None:
    """Plot the time against the number of models, epochs and images: a figure each."""
    models, epochs, counts = (1, 8, 16, 32, 64), (1, 2, 3, 4), (6_875, 13_750, 27_500, 55_000)
    collate = whole_batch
    series = {
        "models": (models, [seconds(ensemble(images, k, 6_400), 1) for k in models]),
        "epochs": (epochs, [seconds(epoch_of(images, 13_750, e, collate), 1) for e in epochs]),
        "images": (counts, [seconds(epoch_of(images, n, 1, collate), 1) for n in counts]),
    }
    for name, line in series.items():
        figure = figures.curves({"time": line}, xlabel=name, ylabel="seconds")
        figure.axes[0].set_ylim(bottom=0)
        figure.savefig(BUILD / f"bench_{name}.png")
        print(
            f"time by {name}: " + ", ".join(f"{x}: {t:.2f} s" for x, t in zip(*line, strict=True))
        )


def main() -> None:
    """Measure all, print a table of times and ratios, and write it as JSON and figures."""
    BUILD.mkdir(exist_ok=True)
    print(f"{platform.processor() or platform.machine()}, {CORES} cores; takes minutes",
          flush=True)  # fmt: skip
    literal = datasets.MNIST(fetch(), train=True, transform=transforms.ToTensor())
    images = Preloaded(literal)

    torch.set_num_threads(1)
    times = {"literal path": seconds(epoch_of(literal))}
    times["preload"] = seconds(epoch_of(images, collate=whole_batch))
    peers = {
        "sklearn": lambda: scikit_learn(images),
        "pytorch_lightning": lambda: lightning(literal),
    }
    for name, peer in peers.items():
        if importlib.util.find_spec(name):
            times[name.replace("_", " ")] = seconds(peer())
    times["arithmetic alone"] = arithmetic()
    for threads in sorted({1, CORES}):
        torch.set_num_threads(threads)
        for models in (1, 8, 16, 32, 64):
            label = f"ensemble of {models}, per model, {threads} thread{'s'[: threads > 1]}"
            times[label] = seconds(ensemble(images, models), 1) / models
    torch.set_num_threads(1)

    literal_path, alone = times["literal path"], times["arithmetic alone"]  # both in one thread
    print(f"\n{'one epoch of 55,000 images':42}{'seconds':>9}{'literal / this':>16}"
          f"{'this / arithmetic':>19}")  # fmt: skip
    for label, value in times.items():
        print(f"{label:42}{value:9.3f}{literal_path / value:16.1f}{value / alone:19.1f}")
    growth(images)
    whole = walkthrough() | sweeps() | reading()
    for label, value in whole.items():
        print(f"{label:58}{value:9.2f}")
    around = whole["walkthrough, 32 images: kernel, imports, data"]
    quick, slow = (whole[f"walkthrough, 5 epochs, {n}"] for n in ("preload", "literal path"))
    print(f"preload is {slow / quick:.1f} times as fast as the literal path in the whole "
          f"notebook, {(slow - around) / (quick - around):.1f} times in its five epochs alone; "
          "the losses are equal to the last bit")  # fmt: skip
    (BUILD / "bench.json").write_text(json.dumps(times | whole, indent=1) + "\n")
    best = {k: v for k, v in times.items() if k != "arithmetic alone"}
    figure = figures.bars({"seconds per epoch and model": list(best.values())}, ylabel="seconds")
    figure.axes[0].set_xticks(range(len(best)), best, rotation=60, ha="right", fontsize=7)
    figure.savefig(BUILD / "bench.png", bbox_inches="tight")


if __name__ == "__main__":
    main()
