"""Create a virtual environment and install the versions pinned in environment.yml into it.

`make setup` runs this file before any package is installed, so it needs the standard library only.
"""
# ruff: noqa: UP036

import sys

if sys.version_info < (3, 11):  # checked before imports that an older Python lacks
    sys.exit(
        f"{sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}, but 3.11 "
        "or newer is needed. Name a newer one, and a new folder for the environment: "
        "make setup PYTHON=python3.12 VENV=.venv-new"
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
# pip's settings for where packages come from, and for installing them elsewhere
_SOURCES = {"index-url", "extra-index-url", "find-links", "no-index"}
_ELSEWHERE = {"target", "prefix", "root"}
_PYPI = "https://pypi.org/simple"
WHEELS = "wheels.txt"  # in a zip from a kit: its wheels, with their checksums
_FOR = "# for "  # what WHEELS begins with; then the machines that `machine` names
_AGENT = {"User-Agent": "mnist-nb"}  # some servers reject urllib's default

_NOT_ALL = ("pip could not install everything; see its message above. To continue, run make setup "
            "again.")  # fmt: skip
_stopped: list[int] = []  # not empty after Ctrl-C; we exit once pip has ended


def pins() -> dict[str, str]:
    """Return name -> requirement for every line that environment.yml pins."""
    text = (PROJECT / "environment.yml").read_text(encoding="utf-8")
    found = re.findall(r"^ *- (([A-Za-z0-9_.-]+)==.*)$", text, re.M)
    return {name: line.strip() for line, name in found}


def pinned(name: str) -> str:
    """Return the version that environment.yml pins for `name`."""
    return pins()[name].partition("==")[2].split(";")[0].strip()


def specification() -> str:
    """Return the text of the two files that define the environment."""
    names = ("environment.yml", "pyproject.toml")
    return "".join((PROJECT / name).read_text(encoding="utf-8") for name in names)


# --- a kit: wheels on a stick, to install from without a network


def machine() -> str:
    """Return what the wheels of this machine are made for, such as linux/x86_64/3.11."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return f"{sys.platform}/{platform.machine().lower()}/{version}"


def kit_wheels(kit: str) -> Path | None:
    """Return the folder of wheels to install from, or None if the packages come from an index.

    Only a zip from a kit has the list of wheels with their checksums. Windows unpacks the zip into
    a folder of its own, so look one folder above `kit`, too.

    Raises:
        SystemExit: the kit has no wheels for this machine and this Python.
    """
    if not kit or not (PROJECT / WHEELS).is_file():
        return None
    found = [path for path in _around(kit) if (path / "wheels").is_dir()]
    if not found:
        return None
    head = (PROJECT / WHEELS).read_text(encoding="utf-8").partition("\n")[0]
    machines = head.removeprefix(_FOR).split()
    if machine() not in machines:
        system = machine().rpartition("/")[0]
        fits = [name.rpartition("/")[2] for name in machines if name.startswith(f"{system}/")]
        hint = f"Name one that fits: make setup PYTHON=python{fits[-1]}" if fits else (
            "Ask for a kit for this system")  # fmt: skip
        sys.exit(f"The kit in {found[0]} has wheels for {', '.join(machines)}, but this Python is "
                 f"{machine()}. {hint}; or install from a network: make setup KIT=")  # fmt: skip
    return found[0] / "wheels"


def _around(kit: str) -> list[Path]:
    return [Path(os.path.abspath(PROJECT / os.path.expanduser(kit) / up)) for up in ("", "..")]


def _install_wheels(wheels: Path) -> None:
    """Install all that `wheels` has for this machine, and this project.

    pip checks each file's SHA-256 before it opens the file.

    None of pip's settings counts, since each of them is about other sources or other places.

    Raises:
        SystemExit: a wheel is missing or has the wrong checksum, or cannot be installed.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    kept["PIP_CONFIG_FILE"] = os.devnull
    done = _install(
        "--no-index", f"--find-links={wheels}", "--only-binary=:all:", "--require-hashes",
        f"--requirement={PROJECT / WHEELS}", env=kept, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if not done.returncode:
        _install_project(env=kept)
        return
    again = "Copy the kit again, or ask for another copy, then run make setup again."
    if "DO NOT MATCH THE HASHES" in done.stderr:
        named = re.search(r"^ *(\S+).* from file:", done.stderr, re.M)
        sys.exit(f"{wheels} has a file that is not the one this zip was made with"
                 f"{f' ({named[1]})' if named else ''}: it is damaged, or someone has replaced "
                 f"it. Nothing of it was installed. {again}")  # fmt: skip
    if missing := re.search(r"No matching distribution found for (\S+)", done.stderr):
        sys.exit(f"{wheels} has no wheel of {missing[1]} for this Python. {again}")
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    reason = (errors or [f"pip exited with code {done.returncode}"])[-1]
    sys.exit(f"The wheels in {wheels} could not be installed ({reason}). Fix that, then run make "
             "setup again.")  # fmt: skip


# --- a new environment


def make(folder: Path, kit: str = "..") -> None:
    """Create an empty environment in `folder`, without removing anything there.

    Raises:
        SystemExit: `folder` has other contents, the environment cannot be created, or `kit` has
            no wheels for this Python.
    """
    kit_wheels(kit)
    if os.path.lexists(folder / "bin" / "python"):
        sys.exit(f"The Python that {folder} was made with no longer exists. Remove this "
                 f"environment (rm -r '{folder}'), then run make setup again.")  # fmt: skip
    new = not folder.exists()
    if not new and not (folder / "pyvenv.cfg").is_file() and any(folder.iterdir()):
        sys.exit(f"{folder} has files in it, but is not an environment. Name a new folder: "
                 "make setup VENV=/path/to/environment")  # fmt: skip
    if not importlib.util.find_spec("ensurepip"):
        sys.exit(f"{sys.executable} has no ensurepip, so it cannot make environments. On Debian: "
                 "apt-get install python3-venv")  # fmt: skip
    command = [sys.executable, "-m", "venv", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or _stopped:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        _end_if_stopped()
        said = (done.stderr + done.stdout).strip().splitlines() or ["it gave no reason"]
        sys.exit(f"{sys.executable} cannot make an environment in {folder} ({said[-1]}). Fix "
                 "that, then run make setup again.")  # fmt: skip


# --- what is installed


def _site_packages() -> set[Path]:
    return {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}


def _version(name: str) -> str:
    """Return the installed version of `name`, or ""."""
    try:
        return importlib.metadata.version(name) or ""
    except importlib.metadata.PackageNotFoundError:
        return ""


def unfinished() -> list[Path]:
    """Return the .dist-info folders of packages whose installation was interrupted.

    pip writes RECORD last, but treats a package without it as completely installed.
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


def missing_requirements() -> list[str]:
    """Return the requirements (and this project) that the environment does not have."""
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
    """Return whether torch has both a CPU and a CUDA build for this system."""
    return sys.platform == "linux" and platform.machine() == "x86_64"


def build_here() -> str:
    """Return the installed build of torch and torchvision, "cpu" or "cuda".

    Return "" if their builds differ, or if a version is not the pinned one.
    """
    versions = [_version(name) for name in PAIR]
    if any(v.partition("+")[0] != pinned(n) for n, v in zip(PAIR, versions, strict=True)):
        return ""
    builds = {"cpu" if version.endswith("+cpu") else "cuda" for version in versions}
    return builds.pop() if len(builds) == 1 else ""


def nvidia_sign(root: Path = Path("/")) -> str:
    """Return a path that shows that this machine has an NVIDIA card or driver, or ""."""
    signs = [
        "proc/driver/nvidia",
        "dev/nvidia0",
        "usr/lib/wsl/lib/nvidia-smi",  # the Windows driver, in WSL
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
        if vendor.startswith("0x10de") and kind.startswith("0x03"):  # vendor NVIDIA, class display
            return f"/{device.relative_to(root)}"
    return shutil.which("nvidia-smi") or ""


def cpu_index_error(index: str, seconds: float = PROBE_SECONDS) -> str:
    """Return why `index` does not offer the CPU builds for this Python, or "" if it does.

    Fetch its pages of torch and torchvision within `seconds`, and look for the pinned versions.
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
        except Exception as error:  # after any error, we use the package index
            said.append("did not answer (" + " ".join(str(error).split()) + ")")

    asking = threading.Thread(target=ask, daemon=True)  # resolving a host name may take minutes
    asking.start()
    asking.join(seconds)
    return said[0] if said else f"did not answer within {seconds:g} seconds"


def choose(choice: str, index: str, settings: dict[str, str]) -> tuple[str, str]:
    """Return the build of torch to install, "cpu" or "cuda", and the reason.

    Args:
        choice: "cpu", "cuda", or "" to decide by this machine and `index`.
        index: the address of torch's index of CPU builds.
        settings: pip's settings, by name without section.
    """
    if choice:
        return choice, f"TORCH={choice} was given"
    other = "TORCH=cpu installs the build without NVIDIA's libraries"
    if sign := nvidia_sign():
        return "cuda", f"there is an NVIDIA card or driver ({sign}); {other}"
    if sources := sorted(_SOURCES & settings.keys()):
        named = ", ".join(sources)
        return "cuda", f"pip's settings name a source of packages ({named}); {other}"
    if reason := cpu_index_error(index):
        why = f"{index}, the index of small CPU builds, {reason}"
        return "cuda", f"{why}; the build from the package index takes 5.5 GB"
    return "cpu", "there is no NVIDIA card; TORCH=cuda installs the build for one"


# --- pip


def _end_if_stopped() -> None:
    if _stopped:
        sys.exit("Interrupted. To continue the installation, run make setup again.")


def _pip(*words: str, **options) -> subprocess.CompletedProcess:
    """Run pip in this environment, without packages from elsewhere on Python's path."""
    done = subprocess.run([sys.executable, "-I", "-m", "pip", *words], cwd=PROJECT, **options)
    _end_if_stopped()
    return done


def _install(*words: str, **options) -> subprocess.CompletedProcess:
    return _pip("install", "--quiet", "--disable-pip-version-check", *words, **options)


@functools.cache
def settings() -> dict[str, str]:
    """Return pip's settings for `pip install`, from its files and variables: name -> value.

    An index-url that is PyPI's, pip's default, is left out.
    """
    done = _pip("config", "list", capture_output=True, text=True)
    found = re.findall(r"^(global|install|:env:)\.([a-z-]+)=(.*)$", done.stdout, re.M)
    return {
        name: value.strip("'\"")
        for _, name, value in found
        if not (name == "index-url" and value.strip("'\"").rstrip("/") == _PYPI)
    }


def _install_pair(build: str, index: str) -> str:
    """Install torch and torchvision in this build; return why that failed, or ""."""
    if build == "cpu":
        # override pip's index settings for these two packages; find-links and no-index still apply
        where = {"PIP_INDEX_URL": index, "PIP_EXTRA_INDEX_URL": index}
        words = [f"{name}=={pinned(name)}+cpu" for name in PAIR]
    else:
        where = {}
        words = ["--force-reinstall", *(pins()[name] for name in PAIR)]
    done = _install("--no-deps", *words, env=os.environ | where, stderr=subprocess.PIPE, text=True)
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return (errors or [f"pip exited with code {done.returncode}"])[-1] if done.returncode else ""


def _remove_unfinished() -> None:
    for info in unfinished():
        shutil.rmtree(info)


def _install_torch(choice: str, index: str) -> None:
    """Install torch's CPU build if chosen; else replace an installed CPU build by the CUDA one.

    If neither applies, do nothing: torch is then installed with all the other pins.
    """
    here = build_here()
    if here and (choice in ("", here) or not has_two_builds()):
        return
    if not has_two_builds():
        print("torch: from the package index, which has one build for this system.", flush=True)
        return
    build, why = choose(choice, index, settings())
    _end_if_stopped()
    said = {"cpu": f"the CPU build, from {index}", "cuda": "from the package index"}
    print(f"torch: {said[build]}, as {why}.", flush=True)
    if build == "cpu":
        reason = _install_pair("cpu", index)
        if not reason:
            return
        failed = f"The CPU build could not be installed from {index} ({reason})"
        if choice:
            sys.exit(f"{failed}. Try again, or omit TORCH=cpu.")
        print(f"{failed}, so torch is installed from the package index.", flush=True)
        _remove_unfinished()
    if any(_version(name).endswith("+cpu") for name in PAIR):  # pip would not replace it
        reason = _install_pair("cuda", index)
        if reason:
            sys.exit(f"torch could not be installed from the package index ({reason}). Check the "
                     "network, then run make setup again.")  # fmt: skip


def _ensure_pip() -> None:
    """Install pip if it is missing because creating the environment was interrupted."""
    if importlib.util.find_spec("pip"):
        return
    command = [sys.executable, "-I", "-m", "ensurepip", "--default-pip"]
    if subprocess.run(command, capture_output=True).returncode:
        sys.exit(f"The environment {sys.prefix} has no pip. Remove the environment "
                 f"(rm -r '{sys.prefix}'), then run make setup again.")  # fmt: skip


def _rewrite_pth_in_ascii() -> None:
    """Rewrite mnist_nb.pth in ASCII, as Python may fail to decode this project's path in it."""
    for path in (folder / "mnist_nb.pth" for folder in _site_packages()):
        if path.is_file() and not (place := path.read_bytes().strip()).isascii():
            path.write_text(f"import os, sys; sys.path.append(os.fsdecode({place!r}))\n")


def _what_happens(choice: str, wheels: Path | None) -> str:
    """Return what `_install_all` is about to do; only an installation takes minutes."""
    missing = {*missing_requirements()} & {line.partition(" ")[0] for line in pins().values()}
    if not missing and choice in ("", build_here()):
        return f"{sys.prefix} has the exact versions of environment.yml; pip looks at them again."
    source = f", from {wheels} and no network," if wheels else ""
    return (f"Installing the exact versions of environment.yml{source} into {sys.prefix}; this "
            "takes minutes the first time.")  # fmt: skip


def _install_all(choice: str, index: str, project: bool, wheels: Path | None = None) -> None:
    """Install all pins, from `wheels` if given, and this project too if `project`."""
    print(_what_happens(choice, wheels), flush=True)
    _ensure_pip()
    if wheels:
        _remove_unfinished()
        _install_wheels(wheels)
        return
    if elsewhere := sorted(_ELSEWHERE & settings().keys()):
        sys.exit(f"pip's settings have {elsewhere[0]!r}, which would install everything outside "
                 f"{sys.prefix}. Remove that line (pip config debug names the files), then run "
                 "make setup again.")  # fmt: skip
    _remove_unfinished()
    _install_torch(choice, index)
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "pins.txt")
        listed.write_text("\n".join(pins().values()) + "\n", encoding="utf-8")
        done = _install("-r", str(listed))
    if done.returncode:
        sys.exit(_NOT_ALL)
    if project:
        _install_project()


def _install_project(**options) -> None:
    done = _install("--no-deps", "--no-build-isolation", "--no-index", "-e", ".", **options)
    _rewrite_pth_in_ascii()
    if done.returncode:
        sys.exit(_NOT_ALL)


# --- what make calls


def _write(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, unless the file has this text already."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)


def fill(choice: str = "", index: str = "", kit: str = "..") -> None:
    """Install what is missing into the environment whose Python runs this, from `kit` if any.

    Raises:
        SystemExit: the installation failed, or `kit` has no wheels for this Python; the message
            says what to do.
    """
    if choice not in ("", "cpu", "cuda"):
        sys.exit(f"TORCH is {choice!r}; give cpu or cuda, or omit it.")
    stamp = Path(sys.prefix, ".mnist-nb-ready")
    folder, _, made = (stamp.read_text("utf-8") if stamp.is_file() else "").partition("\n")
    other_build = choice and has_two_builds() and build_here() != choice
    if not _writable():
        missing = [f"torch's {choice} build"] if other_build else []
        missing += missing_requirements() if made != specification() else []
        if missing:
            sys.exit(f"{sys.prefix} lacks {', '.join(missing[:3])}"
                     f"{f' and {len(missing) - 3} more' if missing[3:] else ''}, and you may not "
                     "write there. Ask its owner to run make setup, or use an environment of your "
                     "own: make setup VENV=.venv")  # fmt: skip
    elif (new := made != specification() or folder != str(PROJECT)) or other_build:
        wheels = kit_wheels(kit)
        if kit and not wheels and (PROJECT / WHEELS).is_file():
            print(f"{_around(kit)[0]} has no wheels, so the packages come from the network. "
                  "With the kit: make setup KIT=/path/to/the/kit", flush=True)  # fmt: skip
        _install_all(choice, index, new, wheels)
        if wheels and other_build and (build := build_here()) != choice:
            sys.exit(f"The kit has torch's {build} build only. Omit TORCH={choice}, or take it "
                     f"from a network: make setup TORCH={choice} KIT=")  # fmt: skip
        _write(stamp, f"{PROJECT}\n{specification()}")
    # the Makefile reinstalls nbgrader in build/ when build/environment.txt changes
    with contextlib.suppress(OSError):  # in a read-only project, nothing is installed there
        made_with = f"{sys.prefix}\n{sys.version}\n{specification()}"
        _write(PROJECT / "build" / "environment.txt", made_with)


def main() -> None:
    """Run the action that the Makefile names: `new FOLDER KIT`, or `fill TORCH INDEX KIT`.

    Without make, `new .venv` and `fill` do.
    """
    signal.signal(signal.SIGINT, lambda *_: _stopped.append(1))
    action, *words = sys.argv[1:]
    try:
        {"new": lambda folder, *kit: make(Path(folder), *kit), "fill": fill}[action](*words)
    except OSError as error:
        sys.exit(f"The environment could not be made: {error}. Fix that, then run make setup "
                 "again.")  # fmt: skip


if __name__ == "__main__":
    main()
