"""The environment, made on machines of every kind: with made-up wheels, in seconds."""

import functools
import http.server
import importlib.metadata
import itertools
import os
import platform
import shutil
import socket
import stat
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from conftest import PROJECT

from mnist_nb.tools import environment

PAIR = {"torch": "0.0.7", "torchvision": "0.0.8"}  # no real index has these
FLIT = importlib.metadata.version("flit_core")
PINS = [f"flit-core=={FLIT}", *[f"{name}=={version}" for name, version in PAIR.items()]]
two_builds = pytest.mark.skipif(
    not environment.has_two_builds(), reason="there is one build of torch for this system"
)


def wheel(folder: Path, name: str, version: str, files: dict[str, bytes], tag="py3-none-any"):
    """Write a wheel into the folder of its name, where an index has it."""
    info = f"{name}-{version}.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in files).encode()
    page = folder / name.replace("_", "-")
    page.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(page / f"{name}-{version}-{tag}.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)


@pytest.fixture(scope="module")
def indices(tmp_path_factory):
    """The address of a server with three indices: the user's, torch's own, and one whose wheels
    are broken; and what it was asked for."""
    folder, asked = tmp_path_factory.mktemp("indices"), []
    python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    tag = f"{python}-{python}{sys.abiflags}-manylinux_2_17_{platform.machine()}"
    for name, version in PAIR.items():
        wheel(folder / "user", name, version, {f"{name}.py": b"build = 'cuda'"})
        wheel(folder / "cpu", name, f"{version}+cpu", {f"{name}.py": b"build = 'cpu'"}, tag)
        shutil.copytree(folder / "cpu" / name, folder / "broken" / name)
        (path,) = (folder / "broken" / name).iterdir()
        path.write_bytes(b"cut off")
    wheel(folder / "cpu", "flit_core", FLIT, {"flit_core.py": b"from the wrong index"})
    parts = importlib.metadata.files("flit_core")
    files = {str(p): p.read_binary() for p in parts if p.parts[0] == "flit_core"}
    wheel(folder / "user", "flit_core", FLIT, files)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, form, *words):
            asked.append(words[0])

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def small_project(folder: Path) -> Path:
    """This project with a short list of versions."""
    folder.mkdir(parents=True)
    for name in ("Makefile", "authors.mk", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(PROJECT / name, folder)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PROJECT / "mnist_nb", folder / "mnist_nb", ignore=ignored)
    shutil.copytree(PROJECT / "jupyter", folder / "jupyter")
    listed = "".join(f"      - {pin}\n" for pin in PINS)
    (folder / "environment.yml").write_text(f"dependencies:\n  - pip:\n{listed}")
    return folder


class Place:
    """A project in a folder with a name that people give, and a user with settings for pip."""

    def __init__(self, folder: Path, index: str):
        self.folder, self.index = folder, index
        self.project = small_project(folder / "Übungen für alle" / "mnist nb")
        self.venv = folder / "gemeinsame Umgebung"
        self.python = folder / "my pythons" / "python3"
        self.python.parent.mkdir()
        self.python.symlink_to(Path(sys.base_prefix, "bin", "python3"))
        (folder / "settings" / "pip").mkdir(parents=True)
        (folder / "settings" / "pip" / "pip.conf").write_text("[install]\nuser = true\n")
        own = ("PIP_", "MAKE", "CONDA", "PYTHON", "TORCH", "XDG")
        kept = {name: os.environ[name] for name in os.environ if not name.startswith(own)}
        self.environment = kept | {
            "HOME": str(folder / "no home"), "XDG_CONFIG_HOME": str(folder / "settings"),
            "NO_PROXY": "*", "PIP_INDEX_URL": f"{index}/user/", "PIP_NO_COLOR": "1",
            "PIP_EXTRA_INDEX_URL": f"{index}/user/",
        }  # fmt: skip

    @property
    def site(self) -> Path:
        """Where packages are."""
        (site,) = self.venv.glob("lib/python*/site-packages")
        return site

    def make(self, *words, project: Path | None = None, prefix=(), **variables):
        """Run make as from another folder; the finished process."""
        return subprocess.run(
            [*prefix, "make", "-C", project or self.project, f"VENV={self.venv}",
             f"PYTHON={self.python}", f"TORCH_CPU={self.index}/cpu", *words],
            env=self.environment | variables, cwd="/", text=True, capture_output=True, timeout=600,
        )  # fmt: skip

    def run(self, lines: str, *words) -> subprocess.CompletedProcess:
        return subprocess.run(
            [self.venv / "bin" / "python", "-c", lines, *words],
            env=self.environment | {"PIP_USER": "0"}, cwd=self.project, text=True,
            capture_output=True, timeout=600,
        )  # fmt: skip

    def builds(self) -> str:
        """Which build of both is here."""
        lines = "import torch, torchvision; print(torch.build, torchvision.build)"
        return self.run(lines).stdout.strip()


@pytest.fixture(scope="module")
def place(indices, tmp_path_factory):
    """Where `make setup` has been run, with all that could lead it astray."""
    place = Place(tmp_path_factory.mktemp("place"), indices[0])
    subprocess.run([place.python, "-m", "venv", "--without-pip", place.venv], check=True)
    for path in Path(importlib.metadata.distribution("pip").locate_file("")).glob("pip*"):
        (place.site / path.name).symlink_to(path)  # quicker than ensurepip
    elsewhere = str(place.folder / "elsewhere")
    place.done = place.make(
        "setup", "TORCH=cuda", PIP_USER="1", PIP_REQUIRE_HASHES="1", PIP_TARGET=elsewhere,
        PIP_PREFIX=elsewhere, PIP_NO_DEPS="1", PYTHONPATH=str(PROJECT / "tests"),
    )  # fmt: skip
    return place


def one_sentence(done: subprocess.CompletedProcess, *words: str) -> bool:
    """Whether it failed, and said all these words in one line besides what make says."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    said = lines[0] if len(lines) == 1 else ""
    return bool(done.returncode and said and all(word in said for word in words))


def everything_in(folder: Path) -> dict:
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


# --- settings and folders of every kind


def test_no_setting_of_pip_and_no_name_of_a_folder_leads_set_up_astray(place):
    assert place.done.returncode == 0, place.done.stderr
    assert place.builds() == "cuda cuda"
    assert not (place.folder / "elsewhere").exists()
    shown = place.run("import mnist_nb, sys; print(mnist_nb.__file__)")
    assert shown.stdout.startswith(str(place.project))
    again = place.make("setup", LC_ALL="C")
    assert again.returncode == 0 and "Installing" not in again.stdout, again.stderr


def test_every_target_hands_its_words_on_in_folders_with_spaces(tmp_path):
    project = small_project(tmp_path / "Übungen für alle" / "mnist nb")
    for name in ("notebooks", "studies", "build/nbgrader", "build/peers", "build/mutmut"):
        (project / name).mkdir(parents=True)
    (project / "notebooks" / "network.safetensors").touch()  # as if the walkthrough had run
    for name in ("python", "python3"):
        fake = tmp_path / "my environment" / "bin" / name
        fake.parent.mkdir(parents=True, exist_ok=True)
        fake.write_text('#!/bin/sh\nprintf "%s|" "$@" >> "$LOG"; echo "$PYTHONPATH" >> "$LOG"\n')
        fake.chmod(0o755)
    lines = [line for name in ("Makefile", "authors.mk")
             for line in (PROJECT / name).read_text().splitlines()]  # fmt: skip
    phony = [line.split()[1:] for line in lines if line.startswith(".PHONY:")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    for target in itertools.chain(*phony):
        if target in ("help", "lock", "clean", "kit-try"):  # they do not use the environment
            continue
        log = tmp_path / f"{target}.log"
        done = subprocess.run(
            ["make", "-C", project, target, f"VENV={fake.parents[1]}", f"PYTHON={fake}", "JOBS=1",
             "ARGS=--one 'two words'", "SUBMISSIONS=all of them", "NOTEBOOK=exercises/my 01",
             "SYSTEMS=linux macos", "PYTHONS=3.11 3.12"],
            env=clean | {"LOG": str(log)}, cwd="/", capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0 and not done.stderr, (target, done.stderr)
        started = log.read_text()
        assert "|fill|" in started and str(project) in started, target
        if target in ("lab", "run", "test", "nbval", "student", "kit", "grade", "site",
                      "site-instructor", "slides"):  # fmt: skip
            assert "|--one|two words|" in started, target
    assert "|grade|all of them|" in (tmp_path / "grade.log").read_text()
    assert "|original|exercises/my 01|" in (tmp_path / "original.log").read_text()
    assert "|--systems|linux macos|--pythons|3.11 3.12|" in (tmp_path / "kit.log").read_text()
    assert not subprocess.run(["make", "-sC", project, "clean"], env=clean).returncode


def test_a_folder_with_other_things_is_not_taken_and_nothing_in_it_is_lost(place, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    done = place.make("setup", f"VENV={tmp_path}")
    assert one_sentence(done, str(tmp_path), "VENV=")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_python_that_is_not_there_any_more_is_one_sentence(place, tmp_path):
    done = place.make("setup", f"VENV={tmp_path / 'new'}", "PYTHON=/no/python3")
    assert one_sentence(done, "/no/python3", "PYTHON=") and not (tmp_path / "new").exists()
    (tmp_path / "old" / "bin").mkdir(parents=True)
    (tmp_path / "old" / "bin" / "python").symlink_to("/no/python3")
    assert one_sentence(place.make("setup", f"VENV={tmp_path / 'old'}"), "rm -r", "make setup")


def test_an_installation_that_was_cut_off_goes_on_or_one_sentence_says_why_not(place, tmp_path):
    site = place.site
    (next(site.glob("torchvision-*.dist-info")) / "RECORD").unlink()  # pip writes it last
    (site / "torchvision.py").unlink()
    (place.venv / ".mnist-nb-ready").unlink()
    conf = tmp_path / "pip" / "pip.conf"
    conf.parent.mkdir()
    conf.write_text("[global]\ntarget = /elsewhere\n")
    done = place.make("setup", XDG_CONFIG_HOME=str(tmp_path))
    assert done.returncode and "target" in done.stderr.splitlines()[0], done.stderr
    done = place.make("setup")
    assert done.returncode == 0, done.stderr
    assert place.builds() == "cuda cuda"


def test_a_shared_environment_that_only_others_may_write_is_used_if_it_is_whole(place):
    """Another clone, in the same environment: nothing is written, its own package is used."""
    site = place.site
    own = Path(importlib.metadata.distribution("packaging").locate_file("packaging"))
    shutil.copytree(own, site / "packaging")
    clone = small_project(place.folder / "a second clone")
    folders = [place.venv, site]
    prefix = []
    if os.geteuid() == 0:  # root must obey only without its capabilities
        if not shutil.which("setpriv"):
            pytest.skip("needs setpriv of util-linux, as root may do everything")
        prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    modes = [stat.S_IMODE(folder.stat().st_mode) for folder in folders]
    for folder in folders:
        folder.chmod(0o555)
    try:
        before = everything_in(place.venv)
        done = place.make("setup", project=clone, prefix=prefix)
        assert done.returncode == 0, done.stderr
        # made from other lists, which it satisfies too
        (clone / "pyproject.toml").open("a").write("\n# another version\n")
        done = place.make("setup", project=clone, prefix=prefix)
        assert done.returncode == 0, done.stderr
        (clone / "environment.yml").open("a").write("      - more-itertools==10.8.0\n")
        done = place.make("setup", project=clone, prefix=prefix)
        assert one_sentence(done, str(place.venv), "more-itertools==10.8.0", "VENV=")
        assert everything_in(place.venv) == before
    finally:
        for folder, mode in zip(folders, modes, strict=True):
            folder.chmod(mode)


# --- which torch


@two_builds
def test_either_build_of_torch_is_had_by_its_name_and_nothing_else_from_that_index(place, indices):
    indices[1].clear()
    done = place.make("setup", "TORCH=cpu")
    assert done.returncode == 0 and f"{indices[0]}/cpu" in done.stdout, done.stderr
    assert place.builds() == "cpu cpu"
    from_torch = [request for request in indices[1] if " /cpu/" in request]
    assert from_torch and not [request for request in from_torch if "flit" in request]
    assert place.make("setup").returncode == 0 and place.builds() == "cpu cpu"
    assert place.make("setup", "TORCH=cuda").returncode == 0 and place.builds() == "cuda cuda"
    assert one_sentence(place.make("setup", "TORCH=gpu"), "'gpu'", "cpu", "cuda")


@two_builds
def test_a_machine_without_a_card_gets_the_cpu_build_and_the_other_one_if_that_breaks(
    place, indices
):
    """As on a machine without a card, for a user whose pip has no settings."""
    lines = """\
import sys
from mnist_nb.tools import environment
environment.nvidia_sign, environment.settings = lambda: "", lambda: {}
environment._install_all("", sys.argv[1], project=False)
"""
    for index, build in (("broken", "cuda"), ("cpu", "cpu")):
        for path in place.site.glob("torch*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        done = place.run(lines, f"{indices[0]}/{index}")
        assert done.returncode == 0, done.stderr
        assert place.builds() == f"{build} {build}", done.stdout
        assert f"{indices[0]}/{index}" in done.stdout


@pytest.mark.parametrize("missing", [[], ["mnist-nb"], ["torch==0"]])
def test_minutes_are_announced_only_when_a_package_is_to_be_installed(missing, monkeypatch):
    monkeypatch.setattr(environment, "missing_requirements", lambda: missing)
    monkeypatch.setattr(environment, "pins", lambda: {"torch": "torch==0 ; python_version > '3'"})
    said = environment._what_happens("", None)
    assert ("takes minutes" in said) == (missing == ["torch==0"])


def test_torchs_index_is_taken_at_its_word_only(indices, monkeypatch):
    monkeypatch.setattr(environment, "pinned", PAIR.__getitem__)
    monkeypatch.setattr(environment.platform, "machine", lambda: platform.uname().machine)
    monkeypatch.setenv("NO_PROXY", "*")
    assert environment.cpu_index_error(f"{indices[0]}/cpu") == ""
    assert "0.0.7+cpu" in environment.cpu_index_error(f"{indices[0]}/user")  # lists other builds
    assert "404" in environment.cpu_index_error(f"{indices[0]}/none")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert environment.cpu_index_error(
            f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=0.2
        )


def test_an_nvidia_card_is_known_by_its_driver_or_on_the_bus(tmp_path, monkeypatch):
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    assert environment.nvidia_sign(tmp_path) == ""
    for number, (vendor, kind) in enumerate([("0x8086", "0x030000"), ("0x10de", "0x040300")]):
        device = tmp_path / "sys/bus/pci/devices" / str(number)
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "class").write_text(f"{kind}\n")
    assert environment.nvidia_sign(tmp_path) == ""  # another maker's display, NVIDIA's sound
    (device / "class").write_text("0x030200\n")
    assert environment.nvidia_sign(tmp_path)
    for sign in ("proc/driver/nvidia", "dev/nvidia0", "usr/lib/wsl/lib/nvidia-smi"):
        (tmp_path / sign.replace("/", "-") / sign).mkdir(parents=True)
        assert environment.nvidia_sign(tmp_path / sign.replace("/", "-")) == f"/{sign}"


def test_the_build_is_what_one_says_else_as_the_machine_is(indices, monkeypatch):
    monkeypatch.setattr(
        environment, "cpu_index_error", lambda index: "" if index == "answers" else "no"
    )
    for card, choice, index, settings, build in [
        ("", "", "answers", {}, "cpu"),
        ("", "", "does not answer", {}, "cuda"),
        ("/dev/nvidia0", "", "answers", {}, "cuda"),
        ("", "", "answers", {"index-url": "https://mirror"}, "cuda"),
        ("", "", "answers", {"no-index": "1"}, "cuda"),
        ("", "cuda", "answers", {}, "cuda"),
        ("/dev/nvidia0", "cpu", "does not answer", {"index-url": "https://mirror"}, "cpu"),
    ]:
        monkeypatch.setattr(environment, "nvidia_sign", lambda card=card: card)
        assert environment.choose(choice, index, settings)[0] == build
