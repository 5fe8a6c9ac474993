"""Pass on what running runs print, from Dask's workers to the terminal."""

from collections.abc import Callable


def passed_on(name: str, topic: str | None) -> Callable[[str], None] | None:
    """Return a function that passes a line of the run `name` on to `topic`; None without one.

    Call it in the thread where Dask executes the run.
    """
    if topic is None:
        return None
    from distributed import get_worker

    worker = get_worker()
    return lambda line: worker.log_event(topic, [name, line])


def listen(client, topic: str, said: Callable[[str, str], None]) -> None:
    """Call `said(name, line)` for each line that is passed on to `topic`."""
    client.subscribe_topic(topic, lambda event: said(*event[1]))
