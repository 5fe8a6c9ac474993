"""Hand the runs of a sweep to Dask's workers, and yield how each of them ends.

`sweep.carry_out` is the caller.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

from mnist_nb.tools.runs.cluster import scheduler_lives
from mnist_nb.tools.runs.identity import Run
from mnist_nb.tools.runs.lookup import Place, is_address, reason, seconds_taken
from mnist_nb.tools.runs.plans import RunsFailed
from mnist_nb.tools.runs.progress import Progress, duration
from mnist_nb.tools.runs.work import Outcome

WAIT_FOR_WORKERS = 300  # seconds that a cluster may have no workers
VISIBLE_WITHIN = 30  # seconds until a file from another machine appears in a shared folder


def outcomes(
    client, runs: list[Run], places: dict[str, Place], submit: Callable[[Run, int], Any],
    retries: int, progress: Progress,
) -> Iterator[tuple[str, Outcome]]:  # fmt: skip
    """Yield (name, outcome) of each run as it ends.

    `submit(run, number)` submits a run for the first time (0), or again, and returns its future.
    """
    from distributed import wait

    waiting, late, futures = iter([(run, 0) for run in runs]), [], {}
    check_workers_left = _worker_check(client, progress)
    try:
        while True:
            with scheduler_lives(client, progress):
                threads = sum(client.nthreads().values())
                # not all at once, as each sends a copy of the notebook to the scheduler
                free = max(0, max(100, 4 * threads) - len(futures))
                futures |= {submit(*it): it for it in itertools.islice(waiting, free)}
                if not futures:
                    break
                with contextlib.suppress(TimeoutError):
                    wait(list(futures), timeout=1, return_when="FIRST_COMPLETED")
                ended = {future: _outcome(future) for future in futures if future.done()}
            for future, outcome in ended.items():
                run, number = futures.pop(future)
                if outcome.state == "failed" and number < retries:
                    progress.say(f"{run.name}: {outcome.why}; trying again")
                    waiting = itertools.chain([(run, number + 1)], waiting)
                    continue
                if outcome.state == "finished" and not _is_visible(places[run.name], run):
                    late.append((run, outcome))
                    continue
                progress.ended(run.name, outcome)
                yield run.name, outcome
            progress.running(min(threads, len(futures)))
            check_workers_left(threads)
        for run, outcome in _await_files(places, late):
            progress.ended(run.name, outcome)
            yield run.name, outcome
    finally:
        progress.close()
        with contextlib.suppress(Exception):  # Dask's, if the scheduler is gone
            client.cancel(list(futures))


def _outcome(future) -> Outcome:
    from distributed.client import FutureCancelledError

    try:
        return future.result()
    except FutureCancelledError:
        raise
    except Exception as error:  # from Dask, or no space for temporary files
        return Outcome("failed", 0, reason(error))


def _worker_check(client, progress: Progress) -> Callable[[int], None]:
    """Return a function of the number of threads, raising RunsFailed if that stays 0 too long."""
    hired, said = time.monotonic(), False

    def check(threads: int) -> None:
        nonlocal hired, said
        if threads:
            hired, said = time.monotonic(), False
            return
        alone = time.monotonic() - hired
        start_one = f"start one with `dask worker {client.scheduler.address}`"
        if alone > WAIT_FOR_WORKERS:
            raise RunsFailed(f"the cluster has no worker; {start_one}; {progress.so_far()}")
        if alone > 2 and not said:
            said = True
            left = duration(WAIT_FOR_WORKERS)
            progress.say(f"the cluster has no worker; waiting up to {left} for one: {start_one}")

    return check


def _await_files(
    places: dict[str, Place], late: list[tuple[Run, Outcome]]
) -> Iterator[tuple[Run, Outcome]]:
    """Wait for stored notebooks to appear; yield their outcomes, or "missing" if they do not."""
    deadline = time.monotonic() + VISIBLE_WITHIN
    for run, outcome in late:
        while not (seen := _is_visible(places[run.name], run)) and time.monotonic() < deadline:
            time.sleep(0.2)
        if not seen:
            why = (
                "a worker stored it where this machine does not see it; with -o, name a folder "
                "that all share, or an address like s3://..."
            )
            outcome = Outcome("missing", outcome.seconds, why)
        yield run, outcome


def _is_visible(place: Place, run: Run) -> bool:
    """Return whether this machine sees the notebook that a worker has stored."""
    return is_address(place.path) or seconds_taken(place.path, run.key) is not None
