"""Find whose the entries of a folder of submissions are: folders, files and zips.

`grading` calls `learners` for the people; `handed_in` then looks into what is theirs.
"""

import os
import re
import zipfile
from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath
from typing import NamedTuple

MOST = 2_000  # files of a learner that are looked at
# what the platforms write before a learner's file or folder: Moodle, then Canvas
_PLATFORMS = (
    re.compile(  # a folder's name ends in _ up to Moodle 4, and without it in newer ones
        r"(?P<learner>.+?_\d+)_assignsubmission_(?:file|onlinetext)(?:_(?P<file>.*))?", re.S
    ),
    re.compile(r"(?P<learner>[^_]+)(?:_LATE)?(?P<number>_\d+)_\d+_(?P<file>.+\..+)", re.S),
)


class Source(NamedTuple):
    """A file or folder, and of a zip for a whole class the members of one learner.

    With `refused`, the members name a learner who has an entry of their own, and are not read.
    With `behind`, a zip for more people names the learner, too, and its notebooks come first.
    """

    path: Path
    members: tuple[str, ...] = ()
    refused: bool = False
    behind: bool = False


def learners(submissions: Path) -> dict[str, list[Source]]:
    """Return the learners in a folder, with their folders, zips and notebooks.

    A file beside the folders belongs to the learner whom Moodle or Canvas names in it, otherwise
    to one who is called like the file. The members of a zip cannot name a learner who has an entry
    of their own: anyone could put a folder with someone else's name into their zip. So of several
    zips that name a learner, the one that names most people counts first.
    """
    found: dict[str, list[Source]] = defaultdict(list)
    inside: list[tuple[str, Source]] = []
    for path in sorted(submissions.iterdir(), key=os.fsencode):
        if path.name.startswith(".") or path.name == "__MACOSX" or path.is_symlink():
            continue
        if path.is_dir():
            found[named(path.name)[0] or path.name].append(Source(path))
        elif path.suffix.lower() == ".zip":
            own = named(path.name)[0]
            for learner, members in _class_of(path).items():
                if own or learner in ("", path.stem):
                    found[own or path.stem].append(Source(path, members))
                else:
                    inside.append((learner, Source(path, members)))
        elif ".ipynb" in path.name.lower():
            found[named(path.name)[0] or path.stem].append(Source(path))
    with_entries = {*found}
    size = Counter(source.path for _, source in inside)
    inside.sort(key=lambda item: -size[item[1].path])
    largest: dict[str, int] = {}
    for learner, source in inside:
        number = size[source.path]
        behind = number < largest.setdefault(learner, number)
        found[learner].append(source._replace(refused=learner in with_entries, behind=behind))
    used = {one.path for sources in found.values() for one in sources if not one.refused}
    for _, source in inside:
        if source.path not in used and source.path.stem not in found:
            found[source.path.stem].append(source._replace(refused=True))
    return dict(sorted(found.items(), key=lambda item: os.fsencode(item[0])))


def named(name: str) -> tuple[str, str]:
    """Return the learner and the file that a platform's name for a file or folder names, or ""."""
    for pattern in _PLATFORMS:
        if match := pattern.fullmatch(name):
            return match["learner"] + match.groupdict().get("number", ""), match["file"] or ""
    return "", ""


def _class_of(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the members of a zip for each learner whom a platform names in them; "" for none."""
    found = defaultdict(list)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist()[: 50 * MOST] if not is_ignored(n)]
    except Exception:  # whatever is wrong with it is said when it is read
        return {"": ()}
    for name in names:
        people = (named(part)[0] for part in PurePosixPath(name).parts)
        found[next(filter(None, people), "")].append(name)
    return {learner: tuple(members) for learner, members in found.items()} or {"": ()}


def is_ignored(name: str) -> bool:
    """Return whether a member of a zip is a folder, or what a system left there."""
    parts = PurePosixPath(name).parts
    return name.endswith("/") or any(p.startswith(".") or p == "__MACOSX" for p in parts)
