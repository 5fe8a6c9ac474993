"""Files that appear whole: in the place of a file, never of a device, a pipe or a link."""

import errno
import os
import threading
from pathlib import Path

import pytest

from mnist_nb.files import write_whole
from mnist_nb.tools.new_files import write_new


@pytest.fixture
def pipe(tmp_path):
    """A pipe with a name, which stands for /dev/null: any user may make one."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize("linked", [False, True], ids=["by its name", "through a link"])
def test_a_pipe_or_device_is_written_into_and_stays_what_it_is(pipe, linked):
    named = pipe
    if linked:
        named = pipe.with_name("link")
        named.symlink_to("pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_whole(named, b"for whoever reads")
    assert pipe.is_fifo() and named.is_symlink() == linked
    reader.join(60)
    assert read == [b"for whoever reads"]
    assert {path.name for path in pipe.parent.iterdir()} == {"pipe", named.name}


def test_a_link_stays_and_the_file_that_it_leads_to_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    (link := tmp_path / "link").symlink_to("there/file")
    for content in (b"new", b"again"):
        write_whole(link, content)
        assert link.is_symlink() and (tmp_path / "there" / "file").read_bytes() == content
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["file"]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_what_is_there_is_not_replaced_by_what_is_to_be_new(tmp_path, pipe, monkeypatch, links):
    def refused(*_):
        raise OSError(errno.EPERM, "this file system has no hard links")

    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refused)
    write_new(file := tmp_path / "file", b"first")
    (link := tmp_path / "link").symlink_to("nowhere")
    for path in (file, pipe, link):
        with pytest.raises(FileExistsError):
            write_new(path, b"second")
    assert file.read_bytes() == b"first" and pipe.is_fifo() and link.is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"file", "pipe", "link"}
