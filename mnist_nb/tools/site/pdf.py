"""Print slides as PDF with the Chromium or Chrome of this machine, a page for each slide."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from mnist_nb.tools.site.html import PublishError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = ["--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
          "--no-pdf-header-footer", "--virtual-time-budget=30000"]  # fmt: skip
_PATIENCE = 300  # seconds for one deck


def browser() -> str | None:
    """Return the path of a browser that can print, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def write_pdf(deck: Path) -> Path:
    """Print the slides in the file `deck` into a PDF beside it; return its path.

    Raises:
        PublishError: there is no browser that can print, or it did not print.
    """
    program, pdf = browser(), deck.with_suffix(".pdf")
    if program is None:
        raise PublishError(
            "There is no PDF of the slides, as this machine has no Chromium or Chrome; install "
            "one, or open the slides in any browser, add ?print-pdf to their address, and print"
        )
    # root may not use the browser's sandbox; the page is our own, and asks for nothing
    alone = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "slides.pdf")
        command = [program, *_FLAGS, *alone, f"--user-data-dir={folder}/profile",
                   f"--print-to-pdf={made}", f"{deck.resolve().as_uri()}?print-pdf"]  # fmt: skip
        try:
            subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=True)
            content = made.read_bytes()
        except (OSError, subprocess.SubprocessError) as error:
            raise PublishError(
                f"{Path(program).name} did not print {deck} ({error}); open the slides in any "
                "browser, add ?print-pdf to their address, and print"
            ) from error
        pdf.write_bytes(content)
    return pdf
