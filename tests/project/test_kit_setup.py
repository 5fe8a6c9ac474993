"""`make setup` and the data from a kit: with made-up wheels, in seconds, and without a network."""

import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_setup import FLIT, PAIR, PINS, Place, one_sentence, small_project, wheel

from mnist_nb import data, sources
from mnist_nb.errors import DataError
from mnist_nb.tools import environment
from mnist_nb.tools.classroom import wheels
from mnist_nb.tools.classroom.targets import targets
from mnist_nb.tools.classroom.wheels import Wheels, listed

NO_NETWORK = ["bwrap", "--unshare-net", "--dev-bind", "/", "/"]
if not shutil.which("bwrap") or subprocess.run([*NO_NETWORK, "true"]).returncode:
    NO_NETWORK = []  # the addresses in the settings lead nowhere either


class Learner(Place):
    """A learner with a kit from a stick, and settings of pip that lead nowhere."""

    def __init__(self, folder: Path):
        super().__init__(folder, "http://127.0.0.1:9")
        self.environment["PIP_RETRIES"] = "0"
        self.kit = folder / "Kopie vom Stick"
        self.wheels = self.kit / "wheels"
        self.wheels.mkdir(parents=True)
        parts = importlib.metadata.files("flit_core")
        flit = {str(p): p.read_binary() for p in parts if p.parts[0] == "flit_core"}
        self.add("flit_core", FLIT, flit)
        for name, version in PAIR.items():
            self.add(name, version, {f"{name}.py": b"build = 'of the kit'"})
        self.add("gpu", "1", {"gpu.py": b""})  # no pin, but a wheel of the kit needs it
        self.add("gpu", "2", {"gpu.py": b"not in the list"})
        self.move(self.kit / "mnist-nb")
        command = [self.python, "-m", "venv", "--without-pip", self.venv]
        subprocess.run(command, check=True)
        for path in Path(importlib.metadata.distribution("pip").locate_file("")).glob("pip*"):
            (self.site / path.name).symlink_to(path)  # quicker than ensurepip

    def add(self, name: str, version: str, files: dict[str, bytes]) -> None:
        """Put a wheel into the kit."""
        wheel(self.folder / "made", name, version, files)
        (path,) = (self.folder / "made" / name.replace("_", "-")).glob(f"*-{version}-*")
        shutil.copy(path, self.wheels)

    def move(self, project: Path) -> None:
        """Unpack the kit's zip in a different place."""
        self.project = small_project(project)
        (here,) = targets("", "")
        files = {path for path in self.wheels.iterdir() if "gpu-2" not in path.name}
        listing = listed(Wheels({here: files}, [], []))
        (self.project / environment.WHEELS).write_bytes(listing)

    def setup(self, *words: str, **variables: str) -> subprocess.CompletedProcess:
        return self.make("setup", *words, prefix=NO_NETWORK, **variables)

    def installed(self) -> set[str]:
        return {path.name.partition("-")[0] for path in self.site.glob("*.dist-info")} - {"pip"}


@pytest.fixture
def learner(tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, "pins", lambda: {p.partition("==")[0]: p for p in PINS})
    return Learner(tmp_path)


ALL = {"flit_core", "torch", "torchvision", "gpu", "mnist_nb"}


def test_set_up_takes_everything_from_a_kit_around_the_folder_without_a_network(learner):
    """Settings about other sources, other places and other versions do not count."""
    lead_astray = {"PIP_CONSTRAINT": "/none", "PIP_FIND_LINKS": "/none", "PIP_TARGET": "/none"}
    done = learner.setup(**lead_astray)
    assert done.returncode == 0 and str(learner.wheels) in done.stdout, done.stderr
    assert learner.builds() == "of the kit of the kit" and learner.installed() == ALL
    assert learner.run("import gpu; print(gpu.__file__)").stdout
    again = learner.setup()
    assert again.returncode == 0 and "Installing" not in again.stdout, again.stderr


@pytest.mark.parametrize(
    ("place", "words"),
    [("kit/mnist-nb-student/mnist-nb", ()), ("elsewhere", ("KIT={}",)),
     ("a b/elsewhere", ("KIT={}/mnist-nb",))],
    ids=["unpacked by Windows", "named", "named one folder too deep"],
)  # fmt: skip
def test_the_kit_is_found_where_windows_unpacks_the_zip_or_where_one_says(learner, place, words):
    learner.move(Path(f"{learner.kit}{place.removeprefix('kit')}") if place.startswith("kit")
                 else learner.folder / place)  # fmt: skip
    done = learner.setup(*(word.format(learner.kit) for word in words))
    assert done.returncode == 0 and learner.builds() == "of the kit of the kit", done.stderr


def test_without_make_the_same_two_steps_need_no_words(learner):
    shutil.rmtree(learner.venv)
    learner.venv = learner.project / ".venv"
    file = "mnist_nb/tools/environment.py"
    for command in ([learner.python, file, "new", ".venv"], [".venv/bin/python", file, "fill"]):
        done = subprocess.run(
            [*NO_NETWORK, *command], cwd=learner.project, env=learner.environment, text=True,
            capture_output=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert learner.installed() - {"setuptools"} == ALL


@pytest.mark.skipif(not environment.has_two_builds(), reason="torch has one build here")
def test_a_kit_with_torchs_cpu_build_installs_that_one(learner):
    for name, version in PAIR.items():
        next(learner.wheels.glob(f"{name}-*")).unlink()
        learner.add(name, f"{version}+cpu", {f"{name}.py": b"build = 'small'"})
    learner.move(learner.kit / "again" / "mnist-nb")
    done = learner.setup("TORCH=cpu")
    assert done.returncode == 0 and learner.builds() == "small small", done.stderr
    assert one_sentence(learner.setup("TORCH=cuda"), "torch's cpu build only", "KIT=")


# --- nothing is taken before its checksum is right


@pytest.mark.parametrize("how", ["cut off", "replaced"])
def test_a_wheel_that_is_not_the_one_in_the_list_is_named_and_nothing_is_installed(learner, how):
    (torch,) = learner.wheels.glob("torch-*")
    if how == "cut off":
        torch.write_bytes(torch.read_bytes()[:300])
    else:
        learner.add("torch", PAIR["torch"], {"torch.py": b"build = 'of somebody else'"})
    done = learner.setup()
    assert one_sentence(done, str(learner.wheels), f"torch=={PAIR['torch']}", "Copy the kit again")
    assert learner.installed() == set()


def test_a_list_without_checksums_installs_nothing(learner):
    path = learner.project / environment.WHEELS
    path.write_text(re.sub(r" --hash=\S+", "", path.read_text()))
    assert one_sentence(learner.setup(), str(learner.wheels), "ashes are required", "make setup")
    assert learner.installed() == set()


def test_a_wheel_that_is_missing_is_named(learner):
    next(learner.wheels.glob("torchvision-*")).unlink()
    done = learner.setup()
    assert one_sentence(done, f"no wheel of torchvision=={PAIR['torchvision']}", "make setup")
    assert learner.installed() == set()


def test_wheels_beside_a_folder_that_has_no_list_of_them_are_not_trusted(learner):
    (learner.project / environment.WHEELS).unlink()
    assert learner.setup().returncode and learner.installed() == set()


# --- a kit that does not fit


def test_a_python_that_the_kit_is_not_for_is_named_before_an_environment_is_made(learner):
    here = environment.machine()
    system = here.rpartition("/")[0]
    for line, says in ((f"# for {system}/3.9 darwin/arm64/3.12", "make setup PYTHON=python3.9"),
                       ("# for win32/amd64/3.12", "Ask for a kit for this system")):  # fmt: skip
        (learner.project / environment.WHEELS).write_text(line + "\n")
        done = learner.setup(f"VENV={learner.folder / 'new'}")
        assert one_sentence(done, here, line.split()[-1], says, "make setup KIT=")
        assert not (learner.folder / "new").exists()


def test_an_environment_that_is_complete_needs_no_kit_that_fits(learner):
    assert learner.setup().returncode == 0
    (learner.project / environment.WHEELS).write_text("# for win32/amd64/3.12\n")
    done = learner.setup()
    assert done.returncode == 0, done.stderr


def test_a_zip_without_its_kit_says_where_it_looked_and_takes_the_network(learner):
    shutil.rmtree(learner.wheels)
    done = learner.setup("TORCH=cuda")
    assert f"{learner.kit} has no wheels" in done.stdout and "KIT=/path" in done.stdout
    assert done.returncode and "could not install everything" in done.stderr


def test_kit_without_a_value_takes_the_network_and_does_not_touch_the_wheels(learner):
    done = learner.setup("KIT=", "TORCH=cuda")
    assert done.returncode and "has no wheels" not in done.stdout
    assert str(learner.wheels) not in done.stdout and learner.installed() == set()


@pytest.mark.skipif(not environment.has_two_builds(), reason="torch has one build here")
def test_another_build_of_torch_than_the_kits_is_refused_and_not_looked_for(learner):
    done = learner.setup("TORCH=cpu")
    assert one_sentence(done, "torch's cuda build only", "make setup TORCH=cpu KIT=")
    assert learner.setup().returncode == 0


# --- data


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """A user without data and without any other source; the project's folder is in tmp_path."""
    monkeypatch.setenv("MNIST_NB_DATA", str(tmp_path / "user"))
    monkeypatch.delenv("MNIST_NB_KIT", raising=False)
    (tmp_path / "kit" / "mnist-nb").mkdir(parents=True)
    monkeypatch.setattr(sources, "PROJECT", tmp_path / "kit" / "mnist-nb")
    monkeypatch.setattr(sources, "_wheel", lambda names: iter(()))
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [])
    return tmp_path


@pytest.mark.parametrize(
    ("place", "kit"), [("kit", None), ("", None), ("stick", "stick"), ("stick", "../../stick")]
)
def test_the_digits_come_from_the_kit_and_are_checked(offline, packed, monkeypatch, place, kit):
    shutil.copytree(packed, offline / place / "data" / "MNIST" / "raw", dirs_exist_ok=True)
    if kit:
        monkeypatch.setenv("MNIST_NB_KIT", kit if ".." in kit else str(offline / kit))
    root = Path(data.fetch("MNIST"))
    assert root == offline / "user" and not data._faults("MNIST", root / "MNIST" / "raw")


def test_digits_that_are_not_the_right_ones_are_not_taken_from_a_kit(offline, packed):
    raw = offline / "kit" / "data" / "MNIST" / "raw"
    shutil.copytree(packed, raw)
    name = "t10k-labels-idx1-ubyte"
    shutil.copy(raw / "train-labels-idx1-ubyte.gz", raw / f"{name}.gz")
    with pytest.raises(DataError, match=f"its {name} .* has the wrong SHA-256"):
        data.fetch("MNIST")
    assert not (offline / "user" / "MNIST" / "raw" / name).exists()


def test_an_empty_name_of_a_kit_means_none(offline, packed, monkeypatch):
    shutil.copytree(packed, offline / "kit" / "data" / "MNIST" / "raw")
    monkeypatch.setenv("MNIST_NB_KIT", "")
    with pytest.raises(DataError):
        data.fetch("MNIST")
