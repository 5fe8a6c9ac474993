"""Pack the records of runs into a zip that says what they are, and sign it."""

import hashlib
import json
import os
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import IO, Any

from mnist_nb.tools.runs import crate
from mnist_nb.tools.runs.crate import ExportError, Run
from mnist_nb.tools.runs.places import is_address, read, reason
from mnist_nb.tools.runs.results import Unfinished, read_run, runs_in
from mnist_nb.tools.runs.stored import stored

_INSERTED = "injected-parameters"  # papermill's tag for the cell with the given parameters


def export(
    places: list[Path | str], output: Path, licence: str | None = None, key: Path | None = None
) -> tuple[int, list[str]]:
    """Pack the records at `places` into the zip `output`; return how many, and what is left out.

    The same records give the same bytes; if none says when it ended, only on the same day. With
    `key`, a private key for SSH, its signature is written beside the zip, as OUTPUT.sig.

    Raises:
        ExportError: there is no record, a record that is named cannot be read, the zip or its
            signature exists or cannot be written, or the key cannot sign. Nothing is written.
    """
    entity, signature = crate.licence_of(licence), output.with_name(f"{output.name}.sig")
    for path in (output, signature):
        if os.path.lexists(path):
            raise ExportError(f"{path} exists, and is kept; choose another name with -o, or "
                              "remove it")  # fmt: skip
    if key and not os.path.isfile(key):
        raise ExportError(f"there is no key {key}; give a private key with --key")
    _check_named(places)
    found, left_out = runs_in(places)
    if not found:
        why = f" ({left_out[-1]})" if left_out else ""
        raise ExportError(f"no record of a run was found in {', '.join(map(str, places))}{why}; "
                          "give executed notebooks, or folders of them")  # fmt: skip
    try:
        with tempfile.TemporaryDirectory(prefix=".mnist-nb-", dir=output.parent) as folder:
            packed, signed = Path(folder, "packed"), Path(folder, "signed")
            with packed.open("wb") as file:
                _pack(file, found, entity)
                os.fsync(file.fileno())
            if key:
                signed.write_bytes(_signature(packed, key))
            packed.replace(output)
            if key:
                signed.replace(signature)
    except OSError as error:
        raise ExportError(f"{output} cannot be written ({error.strerror}); make room, or choose "
                          "another place with -o") from error  # fmt: skip
    return len(found), left_out


def _check_named(places: list[Path | str]) -> None:
    """Raise for a notebook that is named, not in a folder, and has no record that can be read."""
    for place in places:
        if not os.path.isdir(place) and not (is_address(place) and not place.endswith(".ipynb")):
            try:
                read_run(place)
            except Unfinished:
                pass  # left out, as in `results`
            except ValueError as error:
                raise ExportError(f"{error}; nothing was exported") from error


def _pack(file: IO[bytes], records: list[dict[str, Any]], licence: dict[str, str]) -> None:
    """Write the zip: the notebooks in the order of their names, then what they are."""
    runs = []
    with zipfile.ZipFile(file, "w") as archive:
        for name, record in sorted(_named(records).items()):
            content = _content(record["file"])
            runs.append(_run(name, record, content))
            _add(archive, name, content)
        _add(archive, crate.METADATA, crate.metadata(runs, licence).encode())
        _add(archive, crate.PREVIEW, crate.preview(runs, licence).encode())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a file without a date or an owner; not compressed, as versions of zlib would differ."""
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, 0o644 << 16
    archive.writestr(entry, content, zipfile.ZIP_STORED)


def _named(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the record of each name in the crate: its path below the folder that all share."""
    paths = [_parts(record["file"]) for record in records]
    shared = 0
    while all(len(path) > shared + 1 and path[shared] == paths[0][shared] for path in paths):
        shared += 1
    named = {}
    for record, path in zip(records, paths, strict=True):
        name = "/".join(["runs", *path[shared:]])
        if ".." in path or not name.isprintable() or "\\" in name:
            raise ExportError(f"{name!r} cannot be the name of a file on every system; rename it")
        named[name] = record
    return named


def _parts(place: str) -> list[str]:
    whole = place.replace("://", "/") if is_address(place) else os.path.abspath(place)
    return [part for part in whole.split(os.sep) if part]


def _content(place: str) -> bytes:
    try:
        return read(place)
    except Exception as error:  # each store has its own errors
        raise ExportError(f"{place}: cannot be read ({reason(error)})") from error


def _run(name: str, record: dict[str, Any], content: bytes) -> Run:
    """Return what the crate says of a run."""
    try:
        cells = json.loads(content)["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"
                and _INSERTED not in (cell.get("metadata", {}).get("tags") or ())]  # fmt: skip
        papermill = stored(content).papermill
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ExportError(f"{record['file']}: is not a complete notebook") from error
    of_code = hashlib.sha256(json.dumps(code).encode()).hexdigest()
    of_file = hashlib.sha256(content).hexdigest()
    return Run(name, record, papermill, of_code, len(content), of_file)


def _signature(file: Path, key: Path) -> bytes:
    """Return the signature of a file, which `ssh-keygen -Y verify` checks."""
    command = ["ssh-keygen", "-Y", "sign", "-n", "file", "-f", os.path.abspath(key)]
    try:
        with file.open("rb") as content:
            done = subprocess.run(command, stdin=content, capture_output=True)
    except FileNotFoundError as error:
        raise ExportError("signing needs the program ssh-keygen, which is not installed; install "
                          "OpenSSH, or leave out --key") from error  # fmt: skip
    if done.returncode:
        lines = done.stderr.decode(errors="replace").splitlines()
        said = " ".join(line for line in lines if not line.startswith("@"))
        raise ExportError(f"the key {key} cannot sign ({said}); give a private key, such as "
                          "ssh-keygen -t ed25519 makes")  # fmt: skip
    return done.stdout
