"""The kit for a room without a network: its wheels, with made-up ones, and its folder."""

import functools
import hashlib
import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import pytest
from aside import needs_nbgrader
from click.testing import CliRunner
from conftest import PROJECT

from mnist_nb.data import CHECKSUMS
from mnist_nb.tools import environment
from mnist_nb.tools.classroom import kit, targets, wheels
from mnist_nb.tools.classroom.kit import make_kit, size_of
from mnist_nb.tools.classroom.targets import KitError, Target
from mnist_nb.tools.classroom.wheels import download_wheels, listed
from mnist_nb.tools.cli import main

INDEX = "http://127.0.0.1:9/cpu"  # nobody answers there
LINUX, MACOS, WINDOWS = (Target(name, "3.12") for name in ("linux", "macos", "windows"))
TAGS = {LINUX: "manylinux_2_28_x86_64", MACOS: "macosx_14_0_arm64", WINDOWS: "win_amd64"}
PINS = {
    "torch": "torch==1.5",
    "torchvision": "torchvision==2.5",
    "plain": "plain==1.0",
    "pywin": "pywin==3.0 ; os_name == 'nt'",
    "old": "old==1 ; python_version < '3.12'",
}


def wheel(folder: Path, name: str, version: str, tag: str, *requires: str) -> None:
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}",
             *(f"Requires-Dist: {need}" for need in requires)]  # fmt: skip
    if name == "toolkit":
        lines.append("Provides-Extra: rt")
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder that pip takes for all its indices, as it has no other and no network."""
    folder = tmp_path / "index"
    folder.mkdir()
    for target, platform in TAGS.items():
        on_linux = "; platform_system == 'Linux'"
        needs = [f"gpu=={1 if target == LINUX else 9} {on_linux}",
                 f"toolkit[rt]==13.* {on_linux}", "absent; extra == 'more'"]  # fmt: skip
        wheel(folder, "torch", "1.5", f"cp312-cp312-{platform}", *needs)
        wheel(folder, "torchvision", "2.5", f"cp312-cp312-{platform}", "torch==1.5")
    wheel(folder, "gpu", "1", f"py3-none-{TAGS[LINUX]}")
    wheel(folder, "toolkit", "13.1", "py3-none-any", "runtime; extra == 'rt'")
    wheel(folder, "runtime", "7", f"py3-none-{TAGS[LINUX]}")
    wheel(folder, "plain", "1.0", "py3-none-any")
    wheel(folder, "pywin", "3.0", f"cp312-cp312-{TAGS[WINDOWS]}")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in {"NO_INDEX": 1, "FIND_LINKS": folder, "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", str(value))
    monkeypatch.setattr(wheels, "pins", lambda: PINS)
    small = {name: sums for name, sums in CHECKSUMS["MNIST"].items() if "labels" in name}
    monkeypatch.setattr(kit, "CHECKSUMS", {"MNIST": small})  # packing all takes seconds
    return folder


def names(paths) -> set[str]:
    return {"-".join(path.name.split("-")[:2]) for path in paths}


def cpu_builds(index: Path) -> None:
    for name, version in (("torch", "1.5+cpu"), ("torchvision", "2.5+cpu")):
        wheel(index, name, version, f"cp312-cp312-{TAGS[LINUX]}", "plain>=1")


# --- the wheels


def test_each_system_gets_its_own_wheels_and_what_they_require_there(index, tmp_path):
    made = download_wheels(tmp_path / "w", list(TAGS), "cuda", INDEX, str)
    pair = {"torch-1.5", "torchvision-2.5", "plain-1.0"}
    assert names(made.files[LINUX]) == pair | {"gpu-1", "toolkit-13.1", "runtime-7"}
    assert names(made.files[MACOS]) == pair
    assert names(made.files[WINDOWS]) == pair | {"pywin-3.0"}
    assert not made.problems and not made.notes
    for target, platform in TAGS.items():
        (torch,) = [path for path in made.files[target] if path.name.startswith("torch-")]
        assert platform in torch.name


def test_the_list_has_every_checksum_and_says_where_each_line_counts(index, tmp_path):
    made = download_wheels(tmp_path / "w", list(TAGS), "cuda", INDEX, str)
    first, *lines = listed(made).decode().splitlines()
    assert first == "# for linux/x86_64/3.12 darwin/arm64/3.12 win32/amd64/3.12"
    found = dict(line.split(" ", 1) for line in lines)
    assert found.keys() == {"gpu==1", "plain==1.0", "pywin==3.0", "runtime==7", "toolkit==13.1",
                            "torch==1.5", "torchvision==2.5"}  # fmt: skip
    only_linux = "; sys_platform == 'linux' and platform_machine == 'x86_64' --hash"
    assert found["gpu==1"].startswith(only_linux) and found["toolkit==13.1"].startswith(only_linux)
    assert found["pywin==3.0"].startswith('; os_name == "nt" --hash')
    sums = {hashlib.sha256(path.read_bytes()).hexdigest() for path in made.all}
    assert set(re.findall(r"--hash=sha256:(\w{64})", "\n".join(lines))) == sums
    assert found["torch==1.5"].count("--hash") == 3


def test_torch_for_linux_is_the_cpu_build_if_that_can_be_had_and_brings_no_gpu(index, tmp_path):
    cpu_builds(index)
    for choice in ("", "cpu"):
        made = download_wheels(tmp_path / "w", [LINUX, MACOS], choice, INDEX, str)
        assert names(made.files[LINUX]) == {"torch-1.5+cpu", "torchvision-2.5+cpu", "plain-1.0"}
        assert names(made.files[MACOS]) == {"torch-1.5", "torchvision-2.5", "plain-1.0"}
        assert not made.problems and not made.notes
    assert b"\ntorch==1.5 --hash" in listed(made)


def test_an_index_of_cpu_builds_that_does_not_have_them_is_named_with_the_reason(index, tmp_path):
    made = download_wheels(tmp_path / "w", [LINUX], "", INDEX, str)
    assert "gpu-1" in names(made.files[LINUX]) and not made.problems
    (note,) = made.notes
    assert INDEX in note and "No matching distribution found for torch==1.5+cpu" in note
    made = download_wheels(tmp_path / "w", [LINUX, MACOS], "cpu", INDEX, str)
    assert made.files.keys() == {MACOS}
    (problem,) = made.problems
    assert problem.startswith("linux with Python 3.12: torch's CPU build is not in")


def test_an_index_that_nobody_answers_at_is_said_in_two_words():
    said = "WARNING: Retrying after connection broken by 'X'\nERROR: ResolutionImpossible: help"
    assert wheels._reason(said) == "no connection"


def test_what_a_system_lacks_is_said_and_the_others_are_complete(index, tmp_path):
    next(index.glob("pywin*")).unlink()
    made = download_wheels(tmp_path / "w", [MACOS, WINDOWS], "", INDEX, str)
    assert made.files.keys() == {MACOS}
    reason = "No matching distribution found for pywin==3.0"
    assert made.problems == [f"windows with Python 3.12: {reason}"]


def test_a_requirement_that_nothing_satisfies_is_said_with_the_wheel_that_has_it(index, tmp_path):
    wheel(index, "plain", "1.0", "py3-none-any", "torch<1")
    made = download_wheels(tmp_path / "w", [MACOS], "", INDEX, str)
    assert "plain-1.0-py3-none-any.whl needs torch<1" in made.problems[0]
    assert "torch-1.5" in made.problems[0]


def test_wheels_from_before_are_used_again_if_they_are_right_and_others_go(index, tmp_path):
    folder = tmp_path / "w"
    first = download_wheels(folder, [LINUX, MACOS], "cuda", INDEX, str)
    cpu_builds(index)
    kept = {path: path.stat().st_mtime_ns for path in first.files[MACOS]}
    made = download_wheels(folder, [LINUX, MACOS], "", INDEX, str)
    assert sorted(folder.glob("*.whl")) == made.all and "gpu-1" not in names(made.all)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.parametrize(
    ("systems", "pythons", "says"),
    [("linux beos", "", "'beos'; give some of linux, linux-arm, macos, windows"),
     ("", "3.10", "'3.10'; give versions from 3.11 on"), ("", "python3.12", "'python3.12'"),
     ("", "3.12.1", "'3.12.1'")],
)  # fmt: skip
def test_a_system_or_a_python_that_is_not_known_is_one_sentence(systems, pythons, says):
    with pytest.raises(KitError, match=re.escape(says)):
        targets.targets(systems, pythons)


def test_without_a_word_the_kit_is_for_this_machine():
    (here,) = targets.targets("", "")
    assert here.machine == environment.machine()
    assert targets.targets("macos macos", "3.12 3.11 3.12") == [
        MACOS, Target("macos", "3.11")
    ]  # fmt: skip


# --- the folder


@pytest.fixture
def make(index, tmp_path, data_root, monkeypatch):
    """Return a function that makes a kit; its zip has nothing but the list, its site one page."""
    monkeypatch.setattr(kit, "student_zip", lambda project, more: packed(more))

    def site(folder, with_zip):
        assert (with_zip / "mnist-nb-student.zip").is_file()
        folder.mkdir()
        (folder / "index.html").write_text("chapters")

    return lambda *wanted, folder=tmp_path / "kit", site=site: make_kit(
        PROJECT, folder, list(wanted),
        functools.partial(download_wheels, choice="", index=INDEX, say=str), site,
    )  # fmt: skip


def packed(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def test_a_kit_has_all_parts_a_checksum_of_each_file_and_the_same_bytes_again(make, tmp_path):
    made, folder = make(MACOS, WINDOWS), tmp_path / "kit"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    parts = {path.relative_to(folder).parts[0] for path in before}
    assert parts == {"START-HERE.txt", "SHA256SUMS", "mnist-nb-student.zip", "data", "site",
                     "wheels"}  # fmt: skip
    data = folder / "data" / "MNIST" / "raw"
    assert {path.name for path in data.iterdir()} == {
        "train-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
    }  # fmt: skip
    lines = dict(line.split("  ")[::-1] for line in before[folder / "SHA256SUMS"].decode().split(
        "\n")[:-1])  # fmt: skip
    sums = {path.relative_to(folder).as_posix(): hashlib.sha256(content).hexdigest()
            for path, content in before.items()}  # fmt: skip
    zip_sum = sums["mnist-nb-student.zip"]
    assert lines == {n: s for n, s in sums.items() if n not in ("START-HERE.txt", "SHA256SUMS")}
    assert size_of(folder) == sum(len(before[folder / name]) for name in lines)
    assert zip_sum in before[folder / "START-HERE.txt"].decode()
    with zipfile.ZipFile(folder / "mnist-nb-student.zip") as archive:
        assert archive.read("wheels.txt") == listed(made)
    make(MACOS, WINDOWS)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("wanted", "has", "lacks"),
    [((MACOS,), ["make setup", "WITHOUT MAKE", "macOS 14"], ["py -3", "Windows"]),
     ((WINDOWS,), ["py -3.12 mnist_nb\\tools", "py --list", "nobody has tried"],
      ["make setup", "python3"]),
     ((LINUX, WINDOWS), ["make setup", "(Linux, macOS, WSL)", "py -3.12", "glibc"], ["macOS 14"])],
    ids=["macos", "windows", "linux and windows"],
)  # fmt: skip
def test_the_page_says_what_to_do_on_the_systems_of_the_kit(make, tmp_path, wanted, has, lacks):
    make(*wanted)
    page = (tmp_path / "kit" / "START-HERE.txt").read_text()
    assert [words for words in has if words not in page] == []
    assert [words for words in lacks if words in page] == []
    assert max(map(len, page.splitlines())) <= 85 and "{" not in page and "\n\n\n\n" not in page


def test_a_kit_that_was_cut_off_says_so_until_it_is_made_again(make, tmp_path):
    def broken(*_):
        raise OSError(28, "No space left on device")

    make(MACOS)
    with pytest.raises(KitError, match="No space left on device"):
        make(MACOS, site=broken)
    page = tmp_path / "kit" / "START-HERE.txt"
    assert "not complete" in page.read_text() and not page.with_name("SHA256SUMS").exists()
    make(MACOS)
    assert "START HERE" in page.read_text()


def test_a_folder_with_other_things_is_not_taken_for_a_kit(make, tmp_path):
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "thesis.tex").write_text("years of work")
    with pytest.raises(KitError, match="has other things in it"):
        make(MACOS)
    assert [path.name for path in (tmp_path / "kit").iterdir()] == ["thesis.tex"]


def test_a_kit_without_any_wheels_is_one_sentence(make, index):
    next(index.glob("pywin*")).unlink()
    with pytest.raises(KitError, match=r"no wheels could be had: windows with Python 3\.12: No "):
        make(WINDOWS)


@needs_nbgrader
def test_the_command_says_sizes_and_what_is_missing_and_fails_then(index, tmp_path, monkeypatch):
    monkeypatch.setattr("mnist_nb.tools.site.pages.build_site", lambda folder, student: None)
    next(index.glob("pywin*")).unlink()
    words = ["kit", "--systems", "macos windows", "--pythons", "3.12", "-o", str(tmp_path / "k")]
    done = CliRunner().invoke(main, words)
    assert isinstance(main, click.Group) and done.exit_code == 1
    assert "macos with Python 3.12: 3 wheels, 0.0 GB" in done.output
    assert "windows with Python 3.12: No matching distribution" in done.output
    assert "the kit lacks what could not be downloaded" in done.output
    with zipfile.ZipFile(tmp_path / "k" / "mnist-nb-student.zip") as archive:
        assert archive.read("mnist-nb/wheels.txt").startswith(b"# for darwin/arm64/3.12\n")


def test_trying_a_kit_that_is_not_there_is_one_sentence(tmp_path):
    command = [sys.executable, PROJECT / "studies" / "kit_try.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(PROJECT)})  # fmt: skip
    assert done.returncode and done.stderr.count("\n") == 1 and "make kit" in done.stderr
