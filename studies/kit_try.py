"""Use a kit as a learner does: without a network, with an empty home, from that folder alone.

`make kit-try` unpacks the zip of build/kit in a sandbox and runs `make setup data run` there. What
that prints goes into docs/verification.md. ARGS="FOLDER" tries the kit in a different folder, and
ARGS="FOLDER PYTHON" with a different Python; both only print.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from mnist_nb.tools.classroom.kit import PAGE, gigabytes, size_of
from mnist_nb.tools.classroom.student import ZIP
from mnist_nb.tools.project import KIT, PROJECT

TEXT = PROJECT / "docs" / "verification.md"
MARKS = r"(?<=<!-- kit: `make kit-try` writes this -->\n)(.*?)(?=<!-- end of kit -->)"
LEARNER = "/home/learner"
SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/fonts",
          "/etc/ld.so.cache", "/etc/localtime", "/etc/passwd")  # fmt: skip
# what a learner types, after the copy; the first line shows that there is no way out
LINES = """\
set -e
echo "network: $(tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | tr '\\n' ' ')"
echo "home: $(ls -A ~ | tr '\\n' ' ')"
cd ~/kit
sha256sum --check --quiet SHA256SUMS && echo "checksums: all agree"
python3 -m zipfile -e mnist-nb-student.zip .
cd mnist-nb
make setup data run
"""


def sandbox(home: Path, base: Path) -> list[str]:
    """Return the command in a sandbox: the system, the Python in `base`, `home`, no network."""
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--clearenv", "--proc", "/proc",
               "--dev", "/dev", "--tmpfs", "/tmp"]  # fmt: skip
    for path in (*SYSTEM, str(base)):
        command += ["--ro-bind-try", path, path]
    command += ["--bind", str(home), LEARNER, "--setenv", "HOME", LEARNER,
                "--setenv", "LANG", "C.UTF-8",
                "--setenv", "PATH", f"{base / 'bin'}:/usr/bin:/bin"]  # fmt: skip
    return [*command, "sh", "-c", LINES]


def copy_of(kit: Path, home: Path) -> None:
    """Copy the kit into `home`; on the same disk, by links, which take no room."""

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    names = (PAGE, "SHA256SUMS", ZIP, "data", "site", "wheels")
    left = shutil.ignore_patterns("*.part")
    shutil.copytree(kit, home / "kit", copy_function=link, ignore=lambda where, found: (
        set(found) - set(names) if where == str(kit) else left(where, found)))  # fmt: skip


def main(words: list[str]) -> int:
    """Try the kit; without `words`, write what was said into the docs; return 1 if it failed."""
    kit = Path(words[0]) if words else KIT
    python = words[1] if words[1:] else sys.executable
    if not (kit / "SHA256SUMS").is_file():
        sys.exit(f"There is no complete kit in {kit}. Make it with `make kit`.")
    if not shutil.which("bwrap"):
        sys.exit("bubblewrap is not installed. On Debian: apt-get install bubblewrap")
    if not shutil.which(python):
        sys.exit(f"There is no Python {python}. Give its path, as in /usr/bin/python3.12.")
    asked = "import platform, sys; print(sys.base_prefix); print(platform.python_version())"
    done = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True)
    base, version = done.stdout.splitlines()
    begin, said = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="kit-try-", dir=kit.parent) as aside:
        home = Path(aside)
        copy_of(kit, home)
        command = sandbox(home, Path(base))
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True) as process:  # fmt: skip
            for line in process.stdout:
                print(line, end="", flush=True)
                said.append(line.rpartition("\r")[2])
        used = sum(p.lstat().st_size for p in (home / "kit" / "mnist-nb").rglob("*"))
    minutes = (time.monotonic() - begin) / 60
    if process.returncode:
        return 1
    told = "".join(f"    {line}" for line in said if line.strip())
    text = (f"On {date.today()} with Python {version}, from a kit of "
            f"{gigabytes(size_of(kit))}, in {minutes:.0f} minutes; the unpacked folder with its "
            f"environment took {gigabytes(used)}:\n\n{told}")  # fmt: skip
    print(f"\n{text}")
    if not words:
        page = TEXT.read_text(encoding="utf-8")
        TEXT.write_text(re.sub(MARKS, lambda _: text, page, flags=re.S), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
