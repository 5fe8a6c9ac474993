"""Errors that a person can mend: one sentence, and no traceback in a notebook."""


class Problem(Exception):
    """What was wrong, what was given, what to do."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class DataError(Problem):
    """The files of a dataset are not there, not right, or cannot be written."""


class ParameterError(Problem, ValueError):
    """A parameter has an unknown name, the wrong type, or a value outside its range."""
