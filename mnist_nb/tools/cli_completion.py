"""Complete the names of a notebook's parameters in a shell, and their defaults.

click does the rest: `cli_runs` uses `Command` and `parameter` for its commands.
"""

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from mnist_nb.tools.project import WALKTHROUGH

_WORDS = "words before the one to complete"


class Command(click.Command):
    """A command that keeps the words typed so far, for `parameter`.

    While an option still lacks its value, click does not parse them.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words and parse them."""
        ctx.meta[_WORDS] = list(args)
        return super().parse_args(ctx, args)


def parameter(ctx: click.Context, _, begun: str) -> list[CompletionItem]:
    """Return what can follow -p or -g: a parameter's name with its default, or this default."""
    declared, words = _declared(ctx.meta.get(_WORDS, [])), ctx.meta.get(_WORDS, [])
    if len(words) >= 2 and words[-2].startswith("-") and words[-1] in declared:
        shown = {str(declared[words[-1]].default): "the default"}
    else:
        shown = {name: f"default: {one.default!r}" for name, one in declared.items()}
    return [CompletionItem(word, help=said) for word, said in shown.items()
            if word.startswith(begun)]  # fmt: skip


def _declared(words: list[str]) -> dict:
    """Return the parameters of the notebook among `words`, or else of the walkthrough."""
    import nbformat  # slow to import, so only for a completion

    from mnist_nb.tools.runs.declared import declared_parameters

    paths = [word for word in words if word.endswith(".ipynb")]
    path = Path(paths[0]).expanduser() if paths else WALKTHROUGH
    try:
        return declared_parameters(nbformat.read(path, as_version=4)) or {}
    except Exception:  # nothing to complete
        return {}
