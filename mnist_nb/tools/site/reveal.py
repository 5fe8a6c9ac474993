"""reveal.js, which shows the slides, out of a wheel that is checked against its hash."""

from mnist_nb.tools.cached_wheel import cached_wheel

# reveal.js 5.2.1, byte for byte npm's. We take it from a wheel, as whoever has this package has
# pip, but not always npm; we check the wheel's hash whenever we open it, cached or not.
REVEAL = "sphinx-revealjs==3.2.1"
REVEAL_SHA256 = "805bed3ca459346e0f01967d5ed1c40d6b7b917de1541e1e4566c8341fe7017b"
_PARTS = {"style": "dist/reveal.css", "script": "dist/reveal.js", "notes": "plugin/notes/notes.js"}


def reveal_sources() -> dict[str, str]:
    """Return the text of reveal.js's style, script and speaker notes.

    Raises:
        WheelError: it was never here, and cannot be had.
    """
    root = "sphinx_revealjs/_static/revealjs/"
    with cached_wheel(REVEAL, REVEAL_SHA256) as wheel:
        return {name: wheel.read(root + path).decode() for name, path in _PARTS.items()}
