"""Measure kernel starts on a busy machine: `make kernel-starts`.

Compares forked kernels (sockets) with Jupyter's own (ports): how many die or do not answer in
time, and how many seconds pass until torch is imported (or, for Jupyter's, also until an empty
cell has run). Eight start at a time, while every core runs a busy loop.
"""

import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from jupyter_client.manager import KernelManager
from jupyter_client.provisioning import KernelProvisionerFactory
from tqdm import tqdm

from mnist_nb.tools import kernels
from mnist_nb.tools.runs.cluster import cores

AT_ONCE = 8
TIMEOUT = 60  # seconds until a kernel's first answer


def start(code: str) -> float | None:
    """Return the seconds until a new kernel has run `code`; None if it died or did not answer."""
    manager = KernelManager(kernel_name="python3")
    began = time.perf_counter()
    manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=TIMEOUT)
        reply = client.execute_interactive(code, timeout=TIMEOUT, output_hook=lambda _: None)
        return time.perf_counter() - began if reply["content"]["status"] == "ok" else None
    except (RuntimeError, TimeoutError):
        return None
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def measure(name: str, provisioner: str, number: int, code: str) -> None:
    """Start `number` kernels; print how many died or did not answer, and the others' seconds."""
    KernelProvisionerFactory.instance().default_provisioner_name = provisioner
    with ThreadPoolExecutor(AT_ONCE) as pool:
        starts = pool.map(start, [code] * number)
        taken = list(tqdm(starts, desc=name, total=number, disable=None))
    alive = [seconds for seconds in taken if seconds is not None]
    print(f"{name}: {number - len(alive)} of {number} died or did not answer in "
          f"{TIMEOUT} s; seconds to the end of `{code}`: "
          f"median {statistics.median(alive):.2f}, longest {max(alive):.2f}",
          flush=True)  # fmt: skip


def main() -> None:
    """Measure forked and fresh kernels with torch, and fresh ones without, on busy cores."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores())]
    try:
        kernels.use()
        measure("forked, sockets", kernels.NAME, 400, "import torch")
        measure("fresh, ports", "local-provisioner", 40, "import torch")
        measure("fresh, ports", "local-provisioner", 400, "pass")
    finally:
        for loop in loops:
            loop.kill()


if __name__ == "__main__":
    main()
