"""Take reveal.js, which shows the slides, from a wheel with a known SHA-256 checksum."""

from mnist_nb.tools.cached_wheel import cached_wheel

# This wheel has the same files as reveal.js 5.2.1 on npm, and needs pip only. Its checksum is
# verified each time it is opened.
REVEAL = "sphinx-revealjs==3.2.1"
REVEAL_SHA256 = "805bed3ca459346e0f01967d5ed1c40d6b7b917de1541e1e4566c8341fe7017b"
_PARTS = {"style": "dist/reveal.css", "script": "dist/reveal.js", "notes": "plugin/notes/notes.js"}


def reveal_sources() -> dict[str, str]:
    """Return name -> text of reveal.js's style sheet, script and speaker-notes plugin.

    Raises:
        DataError: the wheel is neither cached nor downloadable.
    """
    root = "sphinx_revealjs/_static/revealjs/"
    with cached_wheel(REVEAL, REVEAL_SHA256) as wheel:
        return {name: wheel.read(root + path).decode() for name, path in _PARTS.items()}
