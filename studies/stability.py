"""Check that refreshing a notebook for a different user changes no byte: `make stability`.

Clones the last commit into a new folder and refreshes the notebooks there with a different user
name, home and (if `unshare` works) user id. A notebook is stable if the refreshed file equals the
committed one. A different processor may change the last decimals, so a notebook is also stable if
a second refresh equals the first. Exits with code 1 if one is not stable. Takes some minutes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mnist_nb.data import fetch
from mnist_nb.tools.project import PROJECT

USER = "an-other"
UNSHARE = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]


def refresh(notebook: Path, variables: dict[str, str], prefix: list[str]) -> str:
    """Refresh a notebook of the clone; return the error message, or ""."""
    command = [*prefix, sys.executable, "-m", "mnist_nb.tools.cli", "refresh", str(notebook)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


def check(notebook: Path, variables: dict[str, str], prefix: list[str]) -> bool:
    """Return whether a notebook of the clone is stable, and print why."""
    committed = notebook.read_bytes()
    wrong = refresh(notebook, variables, prefix)
    first = notebook.read_bytes()
    if not wrong and first != committed:
        wrong = refresh(notebook, variables, prefix)
    if not wrong and notebook.read_bytes() != first:
        wrong = "not stable: a second refresh changed it again"
    same = "equal to the committed bytes"
    if first != committed:
        same = "not equal to the committed bytes, but a second refresh changes nothing"
    print(f"{notebook.parent.name}/{notebook.name}: {wrong or same}", flush=True)
    return not wrong


def main() -> None:
    """Check every committed notebook, two at a time."""
    git = ["git", "-C", str(PROJECT)]
    changed = subprocess.run([*git, "status", "--porcelain", "notebooks", "mnist_nb"],
                             capture_output=True, text=True, check=True).stdout  # fmt: skip
    if changed:
        print(f"These changes are not committed, so they are not checked:\n{changed}", flush=True)
    can = shutil.which("unshare") and not subprocess.run([*UNSHARE, "true"]).returncode
    with tempfile.TemporaryDirectory() as folder:
        clone, home = Path(folder, "änother folder"), Path(folder, "hôme")
        home.mkdir()
        subprocess.run(["git", "clone", "--quiet", PROJECT, clone], check=True)
        variables = os.environ | {"USER": USER, "LOGNAME": USER, "HOME": str(home),
                                  "PYTHONPATH": str(clone), "MNIST_NB_DATA": fetch()}  # fmt: skip
        print(f"clone in {clone}, user {USER}, {'another' if can else 'the same'} user id")
        with ThreadPoolExecutor(2) as pool:
            notebooks = [path for pattern in ("*.ipynb", "solutions/*.ipynb")
                         for path in sorted((clone / "notebooks").glob(pattern))]  # fmt: skip
            checks = [pool.submit(check, n, variables, UNSHARE if can else []) for n in notebooks]
            stable = [work.result() for work in checks]
    print(f"{sum(stable)} of {len(stable)} notebooks are stable")
    sys.exit(not all(stable))


if __name__ == "__main__":
    main()
