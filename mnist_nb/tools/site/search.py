"""Write what the search of the pages looks through: the text of every section, in one script."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bs4 import Tag

from mnist_nb.tools.site.html import Page

_HEADING = re.compile(r"h[1-3]")


class Section(NamedTuple):
    """A part of a page that a search can find: from one heading to the next."""

    page: str
    title: str
    id: str
    heading: str
    text: str


def sections_of(main: Tag, page: Page) -> Iterator[Section]:
    """Yield the sections of a page, with text and code, but without what the code prints."""
    name, heading, parts = "", page.title, []
    for tag in main.find_all(True, recursive=False):
        if _HEADING.fullmatch(tag.name) and tag.get("id"):
            yield Section(page.name, page.title, name, heading, _plain(parts))
            name, heading, parts = tag["id"], tag.get_text(), []
        elif "output" not in tag.get("class", ()):
            apart = " " if tag.find(["li", "td"]) else ""  # else two items look like one word
            parts.append(tag.get_text(apart))
    yield Section(page.name, page.title, name, heading, _plain(parts))


def _plain(parts: list[str]) -> str:
    return re.sub(r"\s+", " ", " ".join(parts)).strip()


def search_script(sections: Iterable[Section]) -> str:
    """Return a script that hands `sections` to page.js; a page from a file cannot fetch data."""
    told = [section for section in sections if section.text]
    return f"sectionsToSearch({json.dumps(told, ensure_ascii=False, separators=(',', ':'))});\n"
