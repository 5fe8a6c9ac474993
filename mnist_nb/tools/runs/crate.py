"""Describe runs in the terms of a Process Run Crate, so that other tools can read them.

The profile is https://w3id.org/ro/wfrun/process/0.5, on RO-Crate 1.1. `export` packs the zip.
The package `rocrate` would be one more to install, and its zips hold the time of packing, so two
crates of the same records would differ.
"""

import hashlib
import html
import json
import math
import re
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from mnist_nb.errors import Problem
from mnist_nb.record import to_json
from mnist_nb.tools.runs.digest import dictionary

CRATE, PROFILE = "https://w3id.org/ro/crate/1.1", "https://w3id.org/ro/wfrun/process/0.5"
CONTEXT = [f"{CRATE}/context", "https://w3id.org/ro/terms/workflow-run/context"]
METADATA, PREVIEW = "ro-crate-metadata.json", "ro-crate-preview.html"
_SPDX, _WEB = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*"), re.compile(r"https?://[^\s<>\"]+")
_PAGE = """\
<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>:root {{ color-scheme: light dark }} td {{ overflow-wrap: anywhere }}</style>
<h1>{title}</h1>
<p>{about} Licence: {licence}. <a href="{metadata}">{metadata}</a> says the same for programs.</p>
<table border>
<tr><th>Notebook</th><th>Parameters</th><th>Result</th><th>Ended</th><th>SHA-256</th></tr>
{rows}
</table></html>
"""


class ExportError(Problem):
    """Records cannot be exported as they were asked for."""

    exit_code = 2  # of the command


class Run(NamedTuple):
    """A run, and the file of its record in the crate.

    `code` is the checksum of the notebook's code, without the cell with the given parameters.
    """

    name: str
    record: dict[str, Any]
    papermill: dict[str, Any]
    code: str
    size: int
    sha256: str


def licence_of(said: str | None) -> dict[str, str]:
    """Return the entity of a licence: an SPDX identifier, a web address, or nothing is known."""
    if not said:
        about = "Whoever made these records has not said under which licence they are."
        return _entity("#licence", "CreativeWork", name="no licence is stated", description=about)
    if _WEB.fullmatch(said):
        return _entity(said, "CreativeWork", name=said)
    if _SPDX.fullmatch(said):
        return _entity(f"https://spdx.org/licenses/{said}", "CreativeWork", name=said)
    raise ExportError(f"{said!r} is neither an SPDX identifier, such as MIT or CC-BY-4.0, nor a "
                      "web address; correct --license")  # fmt: skip


def metadata(runs: list[Run], licence: dict[str, str]) -> str:
    """Return the text of ro-crate-metadata.json for `runs`."""
    graph: dict[str, dict] = {}
    actions = [_put(graph, _action(graph, n, run)) for n, run in enumerate(runs, start=1)]
    files = [{"@id": _id(run)} for run in runs]
    profile = _entity(PROFILE, "CreativeWork", name="Process Run Crate", version="0.5")
    root = _entity("./", "Dataset", conformsTo={"@id": PROFILE}, name=_title(runs),
                   description=_about(runs), datePublished=_published(runs),
                   license={"@id": licence["@id"]}, hasPart=files, mentions=actions)  # fmt: skip
    itself = _entity(METADATA, "CreativeWork", about={"@id": "./"}, conformsTo={"@id": CRATE})
    said = {"@context": CONTEXT, "@graph": [itself, root, profile, licence, *graph.values()]}
    return json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def preview(runs: list[Run], licence: dict[str, str]) -> str:
    """Return a page for people that says what is in the crate."""
    rows = "\n".join(
        f'<tr><td><a href="{html.escape(_id(run))}">{html.escape(run.name)}</a></td>'
        + "".join(f"<td>{html.escape(text)}</td>" for text in (
            _pairs(run.record["parameters"]), _pairs(_result(run)),
            _time(run, "end_time") or "not known", run.sha256))
        + "</tr>" for run in runs)  # fmt: skip
    title, about, name = map(html.escape, (_title(runs), _about(runs), licence["name"]))
    return _PAGE.format(title=title, about=about, licence=name, metadata=METADATA, rows=rows)


def _entity(id_: str, type_: str, **properties: Any) -> dict[str, Any]:
    """Return an entity with those `properties` that are not empty; a list of one is its item."""
    one = {k: v[0] if isinstance(v, list) and len(v) == 1 else v for k, v in properties.items()}
    return {"@id": id_, "@type": type_} | {k: v for k, v in one.items() if v not in (None, [])}


def _put(graph: dict[str, dict], entity: dict[str, Any]) -> dict[str, str]:
    """Add an entity to the graph, once; return the reference to it."""
    return {"@id": graph.setdefault(entity["@id"], entity)["@id"]}


def _known(graph: dict[str, dict], type_: str, **properties: Any) -> dict[str, str]:
    """Add an entity that is named after its content, so that runs share it."""
    content = _entity("", type_, **properties)
    said = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return _put(graph, content | {"@id": f"#{quote(properties['name'], safe='')}-{said[:12]}"})


def _action(graph: dict[str, dict], number: int, run: Run) -> dict[str, Any]:
    """Return the entity of a run, after those that it refers to."""
    machine = run.record["machine"]
    file = _entity(_id(run), "File", name=run.name, encodingFormat="application/x-ipynb+json",
                   contentSize=str(run.size), sha256=run.sha256)  # fmt: skip
    used = dict(run.record["parameters"])
    if machine.get("package_sha256"):  # other notebooks need not have read the data
        hashes = dictionary(machine.get("data_sha256"))
        used |= {f"SHA-256 of {name}": value for name, value in hashes.items()}
    threads = {k: v for k, v in dictionary(machine.get("threads")).items() if v is not None}
    where = [machine.get(part) for part in ("platform", "processor", "card")]
    about = f"Parameters: {_pairs(run.record['parameters']) or 'none'}."
    about += f" Machine: {', '.join(map(str, filter(None, where)))}." if any(where) else ""
    return _entity(
        f"#run-{number}", "CreateAction", name=f"Run of {run.record['notebook']}",
        description=about, instrument=_instrument(graph, run), object=_values(graph, used),
        result=[_put(graph, file), *_values(graph, _result(run))],
        startTime=_time(run, "start_time"), endTime=_time(run, "end_time"),
        environment=_values(graph, threads),
    )  # fmt: skip


def _instrument(graph: dict[str, dict], run: Run) -> dict[str, str]:
    """Add the notebook as a program, with the versions of what it ran with."""
    machine = run.record["machine"]
    versions = dictionary(machine.get("versions")) | {"Python": machine.get("python")}
    own = [f"{what} {machine[key]}" for what, key in (("git commit", "git_commit"),
           ("SHA-256 of its code", "package_sha256")) if machine.get(key)]  # fmt: skip
    needs = [_known(graph, "SoftwareApplication", name=name, softwareVersion=str(version),
                    identifier=own * (name == "mnist-nb"))
             for name, version in versions.items() if version]  # fmt: skip
    return _known(graph, "SoftwareApplication", name=run.record["notebook"] or "notebook",
                  softwareVersion=f"sha256:{run.code}", softwareRequirements=needs)  # fmt: skip


def _values(graph: dict[str, dict], pairs: dict[str, Any]) -> list[dict[str, str]]:
    """Add a PropertyValue for each of the `pairs`."""
    return [_known(graph, "PropertyValue", name=name or "unnamed", value=_plain(value))
            for name, value in pairs.items()]  # fmt: skip


def _plain(value: Any) -> bool | int | float | str:
    """Return a text for a value that is neither a text nor a number, as in JSON."""
    if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    value = to_json(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _pairs(values: dict[str, Any]) -> str:
    """Return `values` for people, such as "lr=0.1, seed=3"."""
    return ", ".join(f"{name}={_plain(value)}" for name, value in values.items())


def _result(run: Run) -> dict[str, Any]:
    """Return the numbers of the last epoch."""
    return {name: v for name, v in run.record["history"][-1].items() if v is not None}


def _id(run: Run) -> str:
    return quote(run.name, safe="/=,+")


def _time(run: Run, key: str) -> str | None:
    """Return when the run started or ended, as papermill has noted it, to the millisecond."""
    try:
        time = datetime.fromisoformat(run.papermill[key])
        time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return time.isoformat(timespec="milliseconds")


def _published(runs: list[Run]) -> str:
    """Return the day on which the last run ended, or if no run says that, today."""
    ends = [end for run in runs if (end := _time(run, "end_time"))]
    return max(ends, default=datetime.now(UTC).isoformat())[:10]


def _title(runs: list[Run]) -> str:
    return f"Runs of {', '.join(sorted({run.record['notebook'] for run in runs}))}"


def _about(runs: list[Run]) -> str:
    return f"Executed notebooks, each the record of a run: {len(runs)}."
