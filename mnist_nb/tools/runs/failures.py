"""Define the errors of runs, which several modules raise."""

from mnist_nb.errors import Problem


class RunError(Problem):
    """A run ended early, or its result cannot be stored."""


class NotStarted(RunError):
    """A run cannot start as it was asked for."""

    exit_code = 2  # of the command
