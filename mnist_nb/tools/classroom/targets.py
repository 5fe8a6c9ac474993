"""Name the systems and Pythons that a kit can have wheels for."""

import functools
import itertools
import platform
import sys
from typing import NamedTuple

from packaging import tags

from mnist_nb.errors import Problem


class KitError(Problem):
    """A kit cannot be made."""


class System(NamedTuple):
    """What a kit says of a system, how markers see it, and the platforms of its wheels."""

    words: str
    sys_platform: str
    platform_system: str
    machine: str
    platforms: tuple[str, ...]


def _manylinux(machine: str) -> tuple[str, ...]:
    return (*(f"manylinux_2_{minor}_{machine}" for minor in range(28, 4, -1)),
            *(f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")),
            f"linux_{machine}")  # fmt: skip


SYSTEMS = {
    "linux": System("Linux, or WSL on Windows (64-bit Intel or AMD, glibc 2.28 or newer)",
                    "linux", "Linux", "x86_64", _manylinux("x86_64")),
    "linux-arm": System("Linux (64-bit Arm, glibc 2.28 or newer)",
                        "linux", "Linux", "aarch64", _manylinux("aarch64")),
    "macos": System("macOS 14 or newer (Apple silicon)", "darwin", "Darwin", "arm64",
                    tuple(tags.mac_platforms((14, 0), "arm64"))),
    "windows": System("Windows (64-bit Intel or AMD)", "win32", "Windows", "AMD64",
                      ("win_amd64",)),
}  # fmt: skip


class Target(NamedTuple):
    """A system and a Python, such as 3.11, to download wheels for."""

    system: str
    python: str

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.system} with Python {self.python}"

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platforms of the wheels that the target can install."""
        return SYSTEMS[self.system].platforms

    @property
    def has_two_builds(self) -> bool:
        """Whether torch has a CPU and a CUDA build for it."""
        return self.system == "linux"

    @property
    def only_there(self) -> str:
        """The marker of what only this system needs."""
        system = SYSTEMS[self.system]
        return (f"sys_platform == '{system.sys_platform}' and "
                f"platform_machine == '{system.machine}'")  # fmt: skip

    @property
    def machine(self) -> str:
        """The name that `environment.machine` gives on this target."""
        system = SYSTEMS[self.system]
        return f"{system.sys_platform}/{system.machine.lower()}/{self.python}"

    @property
    def markers(self) -> dict[str, str]:
        """The target's values of the variables in markers."""
        system = SYSTEMS[self.system]
        return {
            "sys_platform": system.sys_platform, "platform_system": system.platform_system,
            "platform_machine": system.machine, "python_version": self.python,
            "python_full_version": f"{self.python}.0", "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "os_name": "nt" if system.sys_platform == "win32" else "posix",
        }  # fmt: skip

    @property
    def tags(self) -> frozenset[tags.Tag]:
        """The tags of the wheels that the target can install."""
        return _tags(*self)


@functools.cache
def _tags(system: str, python: str) -> frozenset[tags.Tag]:
    version, platforms = tuple(map(int, python.split("."))), SYSTEMS[system].platforms
    interpreter = "cp" + "".join(map(str, version))
    return frozenset(itertools.chain(
        tags.cpython_tags(version, platforms=platforms),
        tags.compatible_tags(version, interpreter, platforms),
    ))  # fmt: skip


def this_system() -> str:
    """Return the name of this machine's system, or "linux" if it is none of SYSTEMS."""
    here = sys.platform, platform.machine()
    for name, system in SYSTEMS.items():
        if here == (system.sys_platform, system.machine):
            return name
    return "linux"


def targets(systems: str, pythons: str) -> list[Target]:
    """Return a target for each of the `systems` and `pythons`, which are separated by spaces.

    Without a word there, it is this machine's own.

    Raises:
        KitError: one of them is not known, or too old.
    """
    names, versions = systems.split() or [this_system()], pythons.split()
    versions = versions or [f"{sys.version_info[0]}.{sys.version_info[1]}"]
    for name in names:
        if name not in SYSTEMS:
            raise KitError(f"SYSTEMS has {name!r}; give some of {', '.join(SYSTEMS)}")
    for version in versions:
        major, _, minor = version.partition(".")
        if major != "3" or not minor.isdecimal() or int(minor) < 11:
            raise KitError(f"PYTHONS has {version!r}; give versions from 3.11 on, as 3.11 3.12")
    return [Target(*pair) for pair in dict.fromkeys(itertools.product(names, versions))]
