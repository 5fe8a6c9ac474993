"""Make an environment, and install the exact versions of environment.yml into it.

`make setup` runs this file before anything is installed: it needs the standard library only.
"""
# ruff: noqa: UP036

import sys

if sys.version_info < (3, 11):  # said before an older Python stumbles over what follows
    sys.exit(
        f"{sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}, this needs 3.11 "
        "or newer. Name another one: make setup PYTHON=python3.12"
    )

import contextlib
import functools
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import threading
import tomllib
import urllib.parse
import urllib.request
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PAIR = ("torch", "torchvision")  # each torchvision is built for one torch
PROBE_SECONDS = 3.0
_LARGEST_PAGE = 16 * 1024 * 1024
# pip's settings that say where packages come from, and those that send them elsewhere
_SOURCES = {"index-url", "extra-index-url", "find-links", "no-index"}
_ELSEWHERE = {"target", "prefix", "root"}
_PYPI = "https://pypi.org/simple"
_AGENT = {"User-Agent": "mnist-nb"}  # some servers refuse what urllib calls itself

_stopped: list[int] = []  # Ctrl-C: pip ends by itself, then this does


def pins() -> dict[str, str]:
    """Return name -> requirement for every line that environment.yml pins."""
    text = (PROJECT / "environment.yml").read_text(encoding="utf-8")
    found = re.findall(r"^ *- (([A-Za-z0-9_.-]+)==.*)$", text, re.M)
    return {name: line.strip() for line, name in found}


def pinned(name: str) -> str:
    """Return the version that environment.yml pins for `name`."""
    return pins()[name].partition("==")[2].split(";")[0].strip()


def made_from() -> str:
    """Return what an environment is made from: the two files, as they are."""
    names = ("environment.yml", "pyproject.toml")
    return "".join((PROJECT / name).read_text(encoding="utf-8") for name in names)


# --- a new environment


def make(folder: Path) -> None:
    """Make an environment without packages in `folder`; nothing that lies there is lost.

    Raises:
        SystemExit: there are other things, or it cannot be made; with one sentence.
    """
    if os.path.lexists(folder / "bin" / "python"):
        sys.exit(f"The Python that {folder} was made with is not there any more. Remove this "
                 f"environment (rm -r '{folder}'), then run make setup again.")  # fmt: skip
    new = not folder.exists()
    if not new and not (folder / "pyvenv.cfg").is_file() and any(folder.iterdir()):
        sys.exit(f"{folder} is no environment and has other things in it. Name a new folder: "
                 "make setup VENV=/path/to/environment")  # fmt: skip
    if not importlib.util.find_spec("ensurepip"):
        sys.exit(f"{sys.executable} cannot make environments; on Debian: "
                 "apt-get install python3-venv")  # fmt: skip
    command = [sys.executable, "-m", "venv", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or _stopped:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        _end_if_stopped()
        said = (done.stderr + done.stdout).strip().splitlines() or ["it gave no reason"]
        sys.exit(f"{sys.executable} cannot make an environment in {folder}: {said[-1]}")


# --- what is here


def _site_packages() -> set[Path]:
    return {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}


def _version(name: str) -> str:
    """Return the installed version of `name`, or nothing."""
    try:
        return importlib.metadata.version(name) or ""
    except importlib.metadata.PackageNotFoundError:
        return ""


def unfinished() -> list[Path]:
    """Return the records of packages that pip was installing when it was stopped.

    pip writes RECORD last, and afterwards takes a package without it for a whole one.
    """
    ours = (*(f"{name}-" for name in pins()), "nvidia-", "cuda-", "triton-")
    found = []
    for info in (path for folder in _site_packages() for path in folder.glob("*.dist-info")):
        name = re.sub(r"[-_.]+", "-", info.name).lower()
        installer = info / "INSTALLER"
        by_pip = not installer.is_file() or installer.read_text().strip() == "pip"
        if name.startswith(ours) and by_pip and not (info / "RECORD").is_file():
            found.append(info)
    return sorted(found)


def lacking() -> list[str]:
    """Return the requirements that this environment does not fulfil, this project included."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return sorted(pins().values())
    cut_off = {info.name.partition("-")[0].replace("_", "-").lower() for info in unfinished()}
    found = []
    for name, line in pins().items():
        need = Requirement(line)
        applies = need.marker is None or need.marker.evaluate()
        right = need.specifier.contains(_version(name) or "0", prereleases=True)
        if applies and (not right or name in cut_off):
            found.append(line.partition(" ")[0])
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"console_scripts": project.get("scripts", {}), **project.get("entry-points", {})}
    wanted = {(g, n, v) for g, points in groups.items() for n, v in points.items()}
    points = [p for group in groups for p in importlib.metadata.entry_points(group=group)]
    if not wanted <= {(point.group, point.name, point.value) for point in points}:
        found.append(project["name"])
    return found


def _writable() -> bool:
    return all(os.access(folder, os.W_OK) for folder in {Path(sys.prefix), *_site_packages()})


# --- which torch


def has_two_builds() -> bool:
    """Return whether torch comes for this system with and without NVIDIA's libraries."""
    return sys.platform == "linux" and platform.machine() == "x86_64"


def build_here() -> str:
    """Return "cpu" or "cuda", the build of both pinned packages here; nothing if they disagree."""
    versions = [_version(name) for name in PAIR]
    if any(v.partition("+")[0] != pinned(n) for n, v in zip(PAIR, versions, strict=True)):
        return ""
    builds = {"cpu" if version.endswith("+cpu") else "cuda" for version in versions}
    return builds.pop() if len(builds) == 1 else ""


def card(root: Path = Path("/")) -> str:
    """Return the sign of an NVIDIA card on this machine, or of its driver; nothing without one."""
    signs = [
        "proc/driver/nvidia",
        "dev/nvidia0",
        "usr/lib/wsl/lib/nvidia-smi",  # of Windows' driver, in WSL
        "usr/lib/wsl/lib/libcuda.so.1",
    ]
    for sign in signs:
        if (root / sign).exists():
            return f"/{sign}"
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        try:
            vendor, kind = ((device / name).read_text() for name in ("vendor", "class"))
        except OSError:
            continue
        if vendor.startswith("0x10de") and kind.startswith("0x03"):  # NVIDIA, a display
            return f"/{device.relative_to(root)}"
    return shutil.which("nvidia-smi") or ""


def refusal(index: str, seconds: float = PROBE_SECONDS) -> str:
    """Return why `index` does not give this Python the CPU builds; nothing if it does.

    Asks for its two pages and looks for the pinned versions in them, within `seconds` in all.
    """
    said: list[str] = []
    python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    tags = rf"{python}-{python}{sys.abiflags}-\w*linux\w*_{platform.machine()}\.whl"

    def ask() -> None:
        try:
            for name in PAIR:
                request = urllib.request.Request(f"{index}/{name}/", headers=_AGENT)
                with urllib.request.urlopen(request, timeout=seconds) as answer:
                    page = urllib.parse.unquote(
                        answer.read(_LARGEST_PAGE).decode("utf-8", "replace")
                    )
                wheel = f"{name}-{pinned(name)}+cpu"
                if not re.search(rf"\b{re.escape(wheel)}-{tags}", page):
                    said.append(f"does not list {wheel} for this Python")
                    return
            said.append("")
        except Exception as error:  # whatever it is, there is another way
            said.append("did not answer (" + " ".join(str(error).split()) + ")")

    asking = threading.Thread(target=ask, daemon=True)  # a name may take minutes to be unknown
    asking.start()
    asking.join(seconds)
    return said[0] if said else f"did not answer within {seconds:g} seconds"


def choose(choice: str, index: str, settings: dict[str, str]) -> tuple[str, str]:
    """Return the build of torch to take, "cpu" or "cuda", and why, as a sentence.

    Args:
        choice: "cpu", "cuda", or nothing: as this machine and `index` are.
        index: the address of torch's own index of CPU builds.
        settings: pip's, by name without section.
    """
    if choice:
        return choice, f"TORCH={choice} says so"
    other = "TORCH=cpu takes the build without NVIDIA's libraries"
    if sign := card():
        return "cuda", f"there is an NVIDIA card ({sign}); {other}"
    if sources := sorted(_SOURCES & settings.keys()):
        named = ", ".join(sources)
        return "cuda", f"pip's settings say where packages come from ({named}); {other}"
    if reason := refusal(index):
        return "cuda", f"there is no NVIDIA card, but {index} {reason}; it takes 5.5 GB"
    return "cpu", "there is no NVIDIA card; TORCH=cuda takes the build for one"


# --- pip


def _end_if_stopped() -> None:
    if _stopped:
        sys.exit("Interrupted. What is installed stays, and make setup goes on from there.")


def _pip(*words: str, **options) -> subprocess.CompletedProcess:
    """Run pip in this environment, whatever else lies on Python's path."""
    done = subprocess.run([sys.executable, "-I", "-m", "pip", *words], cwd=PROJECT, **options)
    _end_if_stopped()
    return done


def _install(*words: str, **options) -> subprocess.CompletedProcess:
    return _pip("install", "--quiet", "--disable-pip-version-check", *words, **options)


@functools.cache
def settings() -> dict[str, str]:
    """Return pip's settings for installing, from its files and variables, without sections."""
    done = _pip("config", "list", capture_output=True, text=True)
    found = re.findall(r"^(global|install|:env:)\.([a-z-]+)=(.*)$", done.stdout, re.M)
    return {
        name: value.strip("'\"")
        for _, name, value in found
        if not (name == "index-url" and value.strip("'\"").rstrip("/") == _PYPI)
    }


def _install_pair(build: str, index: str) -> str:
    """Install torch and torchvision in this build; return why that failed, or nothing."""
    if build == "cpu":
        # in place of what pip's settings say: these two come from nowhere else, and nothing else
        # comes from there
        where = {"PIP_INDEX_URL": index, "PIP_EXTRA_INDEX_URL": index}
        words = [f"{name}=={pinned(name)}+cpu" for name in PAIR]
    else:
        where = {}
        words = ["--force-reinstall", *(pins()[name] for name in PAIR)]
    done = _install("--no-deps", *words, env=os.environ | where, stderr=subprocess.PIPE, text=True)
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return (errors or [f"pip ended with {done.returncode}"])[-1] if done.returncode else ""


def _remove_unfinished() -> None:
    for info in unfinished():
        shutil.rmtree(info)


def _install_torch(choice: str, index: str) -> None:
    """Install torch's CPU build where that is the one to take; the other comes with the rest."""
    here = build_here()
    if here and (choice in ("", here) or not has_two_builds()):
        return
    if not has_two_builds():
        print("torch: from the package index, the one build for this system.", flush=True)
        return
    build, why = choose(choice, index, settings())
    _end_if_stopped()
    said = {"cpu": f"the CPU build, from {index}", "cuda": "from the package index"}
    print(f"torch: {said[build]}, as {why}.", flush=True)
    if build == "cpu":
        reason = _install_pair("cpu", index)
        if not reason:
            return
        failed = f"The CPU build could not be had from {index} ({reason})"
        if choice:
            sys.exit(f"{failed}. Try again, or leave TORCH=cpu out.")
        print(f"{failed}; torch comes from the package index.", flush=True)
        _remove_unfinished()
    if any(_version(name).endswith("+cpu") for name in PAIR):  # pip would leave it
        reason = _install_pair("cuda", index)
        if reason:
            sys.exit(f"torch could not be had from the package index ({reason}).")


def _need_pip() -> None:
    """Bring pip where an environment was cut off while it was made."""
    if importlib.util.find_spec("pip"):
        return
    command = [sys.executable, "-I", "-m", "ensurepip", "--default-pip"]
    if subprocess.run(command, capture_output=True).returncode:
        sys.exit(f"There is no pip in {sys.prefix}. Remove it (rm -r '{sys.prefix}'), then run "
                 "make setup again.")  # fmt: skip


def _write_place_in_ascii() -> None:
    """Write where this project lies so that Python reads it at its start in every locale."""
    for path in (folder / "mnist_nb.pth" for folder in _site_packages()):
        if path.is_file() and not (place := path.read_bytes().strip()).isascii():
            path.write_text(f"import os, sys; sys.path.append(os.fsdecode({place!r}))\n")


def _install_all(choice: str, index: str, project: bool) -> None:
    """Install all pins, and this project too if `project`."""
    print(f"Installing the exact versions of environment.yml into {sys.prefix}; minutes, the "
          "first time.", flush=True)  # fmt: skip
    _need_pip()
    if elsewhere := sorted(_ELSEWHERE & settings().keys()):
        sys.exit(f"pip's settings have a {elsewhere[0]}, to which everything would go instead of "
                 f"{sys.prefix}. Remove that line (pip config debug names the files), then run "
                 "make setup again.")  # fmt: skip
    _remove_unfinished()
    _install_torch(choice, index)
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "pins.txt")
        listed.write_text("\n".join(pins().values()) + "\n", encoding="utf-8")
        done = _install("-r", str(listed))
    if project and not done.returncode:
        done = _install("--no-deps", "--no-build-isolation", "-e", ".")
        _write_place_in_ascii()
    if done.returncode:
        sys.exit("pip could not install everything; above it says why. What is installed stays, "
                 "and make setup goes on from there.")  # fmt: skip


# --- what make calls


def _write(path: Path, text: str) -> None:
    """Write `text` to `path` whole, unless it is there already."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)


def fill(choice: str, index: str) -> None:
    """Install everything into the environment that runs this, unless it is there.

    Raises:
        SystemExit: something is wrong that a person can put right; with one sentence.
    """
    if choice not in ("", "cpu", "cuda"):
        sys.exit(f"TORCH is {choice!r}; give cpu or cuda, or leave it out.")
    stamp = Path(sys.prefix, ".mnist-nb-ready")
    folder, _, made = (stamp.read_text("utf-8") if stamp.is_file() else "").partition("\n")
    other_build = choice and has_two_builds() and build_here() != choice
    if not _writable():
        missing = [f"torch's {choice} build"] if other_build else []
        missing += lacking() if made != made_from() else []
        if missing:
            sys.exit(f"{sys.prefix} lacks {', '.join(missing[:3])}"
                     f"{f' and {len(missing) - 3} more' if missing[3:] else ''}, and you may not "
                     "write there. Ask whoever made it to run make setup, or take an environment "
                     "of your own: make setup VENV=.venv")  # fmt: skip
    elif (new := made != made_from() or folder != str(PROJECT)) or other_build:
        _install_all(choice, index, project=new)
        _write(stamp, f"{PROJECT}\n{made_from()}")
    # what is installed aside is renewed when this changes
    with contextlib.suppress(OSError):  # in a project that others own, nothing is put aside
        made_with = f"{sys.prefix}\n{sys.version}\n{made_from()}"
        _write(PROJECT / "build" / "environment.txt", made_with)


def main() -> None:
    """Do what the Makefile asks: `new FOLDER`, or `fill TORCH INDEX`."""
    signal.signal(signal.SIGINT, lambda *_: _stopped.append(1))
    action, *words = sys.argv[1:]
    try:
        {"new": lambda folder: make(Path(folder)), "fill": fill}[action](*words)
    except OSError as error:
        sys.exit(f"The environment could not be made: {error}. Put that right, then run make "
                 "setup again.")  # fmt: skip


if __name__ == "__main__":
    main()
