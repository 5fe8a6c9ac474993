"""Define errors that the user can fix; notebooks show their message without a traceback."""


class Problem(Exception):
    """An error whose message tells the user what is wrong and, where possible, what to do."""

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class DataError(Problem):
    """Files of a dataset, or a wheel, are missing or wrong, or cannot be downloaded or written."""


class NetworkError(Problem):
    """A network cannot be saved or used by the pad, or a file does not hold one."""


class ParameterError(Problem, ValueError):
    """A parameter, its value, or a notebook's declaration of its parameters is wrong."""


class NotHereError(ParameterError):
    """A value of a parameter is right, but this machine lacks what it needs."""
