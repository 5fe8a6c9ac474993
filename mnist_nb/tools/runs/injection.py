"""Write the values of parameters as Python, for the cell that papermill adds to a notebook.

Papermill itself would turn tuples and paths into texts. It would do the same with the keys of
dictionaries, even if they are numbers.
"""

from typing import Any

from papermill.translators import PythonTranslator, papermill_translators

from mnist_nb.tools.runs.fitting import PathText


class _Python(PythonTranslator):
    @classmethod
    def translate(cls, val: Any) -> str:
        if isinstance(val, PathText):
            return f"__import__('pathlib').Path({cls.translate_str(val)})"
        if isinstance(val, tuple):
            return f"({''.join(f'{cls.translate(each)}, ' for each in val).strip()})"
        return super().translate(val)

    @classmethod
    def translate_dict(cls, val: dict) -> str:
        pairs = (f"{cls.translate(name)}: {cls.translate(each)}" for name, each in val.items())
        return f"{{{', '.join(pairs)}}}"


def register() -> None:
    """Make papermill write Python in this way, in this process."""
    papermill_translators.register("python", _Python)
