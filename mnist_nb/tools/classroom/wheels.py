"""Download the wheels of a kit, for each system and Python, and list them with their checksums.

pip evaluates markers for the machine that it runs on, whatever --platform says. So it gets exact
lists, without dependencies: the pins that apply on the system, then what their wheels require,
until nothing is missing.
"""

import functools
import os
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from packaging.metadata import parse_email
from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from mnist_nb.tools.checksums import sha256
from mnist_nb.tools.classroom.targets import KitError, Target
from mnist_nb.tools.environment import PAIR, pins

_ROUNDS = 9  # of requirements of requirements


class Wheels(NamedTuple):
    """The wheels of a kit: the files for each target, and why targets are missing or larger."""

    files: dict[Target, set[Path]]
    problems: list[str]
    notes: list[str]

    @property
    def all(self) -> list[Path]:
        """All files, in order."""
        return sorted(set().union(*self.files.values()))


def download_wheels(
    folder: Path, wanted: list[Target], choice: str, index: str, say: Callable = print
) -> Wheels:
    """Download what each target needs into `folder`; remove wheels that none of them needs.

    Args:
        folder: where wheels from an earlier call are used again, if their checksums agree.
        wanted: the targets.
        choice: torch for Linux: "cpu", "cuda", or "" for the first of them that can be had.
        index: the address of torch's index of CPU builds.
        say: called with a line for each target.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = Wheels({}, [], [])
    for target in wanted:
        say(f"{target.system}, Python {target.python}")
        build = choice
        if target.has_two_builds and choice != "cuda":
            reason = _download(folder, _pair("+cpu"), target, index)
            if reason and choice:
                made.problems.append(f"{target}: torch's CPU build is not in {index} ({reason})")
                continue
            build = "cuda" if reason else "cpu"
            if reason:
                made.notes.append(f"{target}: torch with NVIDIA's libraries, 3 GB, as its CPU "
                                  f"build could not be had from {index} ({reason})")  # fmt: skip
        try:
            made.files[target] = _complete(folder, target, build)
        except KitError as error:
            made.problems.append(f"{target}: {error}")
    if not made.problems:  # else keep what may be needed when it is tried again
        for path in set(folder.glob("*.whl")) - set(made.all):
            path.unlink()
    return made


def listed(wheels: Wheels) -> bytes:
    """Return the requirements that `environment` installs, each with its wheels' checksums."""
    pinned = {canonicalize_name(name): Requirement(line) for name, line in pins().items()}
    sums, systems = defaultdict(set), defaultdict(set)
    for target, paths in wheels.files.items():
        for path in paths:
            name, version, *_ = parse_wheel_filename(path.name)
            sums[name, version.public].add(sha256(path))
            systems[name].add(target.only_there)
    lines = [f"# for {' '.join(target.machine for target in wheels.files)}"]
    for (name, version), found in sorted(sums.items()):
        marker = pinned[name].marker if name in pinned else " or ".join(sorted(systems[name]))
        checksums = " ".join(f"--hash=sha256:{found}" for found in sorted(found))
        lines.append(f"{name}=={version}{f' ; {marker}' if marker else ''} {checksums}")
    return ("\n".join(lines) + "\n").encode()


def _pair(local: str = "") -> list[str]:
    return [f"{name}=={Requirement(pins()[name]).specifier}{local}".replace("====", "==")
            for name in PAIR]  # fmt: skip


def _complete(folder: Path, target: Target, build: str) -> set[Path]:
    """Download what is missing for `target` until nothing is; return its files.

    Raises:
        KitError: pip found no wheel for a requirement; the message has pip's reason.
    """
    roots = {}
    for line in pins().values():
        need = Requirement(line)
        if need.marker is None or need.marker.evaluate(target.markers):
            roots[need.name] = f"{need.name}{need.specifier}"
    if build == "cpu" and target.has_two_builds:
        roots |= dict(zip(PAIR, _pair("+cpu"), strict=True))
    rest = [line for line in roots.values() if not line.endswith("+cpu")]
    missing = rest
    for _ in range(_ROUNDS):
        if reason := _download(folder, missing, target):
            raise KitError(reason)
        found, missing = _needed(folder, list(roots.values()), target)
        if not missing:
            return found
    raise KitError(f"pip downloaded no wheel that fits {', '.join(missing)}")


def _needed(folder: Path, roots: list[str], target: Target) -> tuple[set[Path], list[str]]:
    """Return the wheels in `folder` that `target` needs, and the requirements without a wheel."""
    wheels = _by_name(folder, target)
    chosen: dict[str, Path] = {}
    missing: list[str] = []
    queue = [(Requirement(line), "environment.yml") for line in roots]
    seen = set()
    while queue:
        need, why = queue.pop(0)
        name = canonicalize_name(need.name)
        fits = [path for version, path in wheels.get(name, ()) if need.specifier.contains(
            version, prereleases=True)]  # fmt: skip
        if name not in chosen and not fits:
            missing.append(f"{need.name}{need.specifier}")
            continue
        if chosen.setdefault(name, fits[-1] if fits else None) not in fits:
            raise KitError(f"{why} needs {need}, but a different requirement has chosen "
                           f"{chosen[name].name}; correct environment.yml")  # fmt: skip
        for extra in {"", *need.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                queue += [(more, chosen[name].name) for more in _requires(chosen[name], target,
                          extra)]  # fmt: skip
    return set(chosen.values()), sorted(set(missing))


def _by_name(folder: Path, target: Target) -> dict[str, list]:
    """Return name -> (version, path) of wheels that fit, the newest last; local builds first."""
    found = defaultdict(list)
    for path in sorted(folder.glob("*.whl")):
        try:
            name, version, _, fits = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        if fits & target.tags:
            found[name].append((version, path))
    for wheels in found.values():
        wheels.sort(key=lambda wheel: (not wheel[0].local, wheel[0]))
    return found


def _requires(path: Path, target: Target, extra: str) -> list[Requirement]:
    """Return what the wheel at `path` requires on `target`, for one of its extras or for ""."""
    values = target.markers | {"extra": extra}
    return [
        need for need in map(Requirement, _metadata(path))
        if (need.marker is None and not extra) or (need.marker and need.marker.evaluate(values))
    ]  # fmt: skip


@functools.cache
def _metadata(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")
                       and n.count("/") == 1]  # fmt: skip
            return parse_email(archive.read(name))[0].get("requires_dist", [])
    except (zipfile.BadZipFile, ValueError) as error:
        raise KitError(f"{path} is not a wheel ({error}); delete it, and try again") from error


def _download(folder: Path, requirements: list[str], target: Target, index: str = "") -> str:
    """Download wheels for `requirements`, from `index` only if given; return why not, or ""."""
    where, patience = {"PIP_CONSTRAINT": os.devnull}, []  # the versions are exact
    if index:  # override pip's settings; do not wait long for an index that is out of reach
        where |= {"PIP_INDEX_URL": index, "PIP_EXTRA_INDEX_URL": index}
        patience = ["--timeout=10", "--retries=1"]
    with tempfile.TemporaryDirectory() as aside:
        wanted = Path(aside, "wanted.txt")
        wanted.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        # kept in `folder`, so without a second copy in pip's cache
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
                   "--no-cache-dir", "--disable-pip-version-check", "--no-input", *patience,
                   f"--dest={folder}", f"--requirement={wanted}", "--implementation=cp",
                   f"--python-version={target.python}",
                   *(f"--platform={name}" for name in target.platforms)]  # fmt: skip
        on_terminal = sys.stderr is not None and sys.stderr.isatty()
        done = subprocess.run(command, stdout=sys.stderr if on_terminal else subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True,
                              env=os.environ | where)  # fmt: skip
    return _reason(done.stderr) if done.returncode else ""


def _reason(said: str) -> str:
    """Return why pip failed, in the words of what it `said`."""
    if "connection broken" in said:
        return "no connection"
    errors = [line for line in said.splitlines() if line.startswith("ERROR: ")]
    errors = [line for line in errors if "No matching distribution" in line] or errors
    return errors[0].removeprefix("ERROR: ") if errors else "pip gave no reason"
