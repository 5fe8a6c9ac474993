"""Build the site: each notebook as one HTML file, an index, and what a search needs.

A page needs no network, and can be read without JavaScript; page.js adds buttons, keys and the
search.
"""

import re
from itertools import takewhile
from pathlib import Path

from bs4 import BeautifulSoup

from mnist_nb.tools.project import GUIDE, NOTEBOOKS, STUB, STUDENT
from mnist_nb.tools.site.html import (
    Page,
    PublishError,
    export,
    exporter,
    read_page,
    write_files,
)
from mnist_nb.tools.site.live import parts_of
from mnist_nb.tools.site.search import search_script, sections_of
from mnist_nb.tools.site.slides import build_slides

_SOLUTION = re.compile(r"###\s*BEGIN (SOLUTION|HIDDEN TESTS)")
# sections of all chapters, which the index leaves out
_EVERYWHERE = ("What you can do now", "Check yourself", "Exercises", "Further reading")
# the groups of pages in the contents
_TITLES = {
    "chapters": "Chapters",
    "exercises": "Exercises",
    "words": "Words",
    "solutions": "Solutions",
    "guides": "For instructors",
}
_MAP = "Where to go from here"  # the section that the index repeats
# what only the instructor's site has
_NOT_FOR_LEARNERS = (f"{GUIDE.stem}.html", GUIDE.name, "solutions/*.html", "solutions/*.ipynb")


def build_site(
    folder: Path, notebooks: Path = NOTEBOOKS, student: Path = STUDENT, instructor: bool = False
) -> list[Path]:
    """Write pages, index, slides and downloads into `folder`; return the pages, index first.

    Learners get the chapters, their exercises, the Markdown files beside the notebooks (the
    glossary) and the zip in `student`. With `instructor`, solutions and the guide come after them.

    Raises:
        PublishError: a formula cannot be converted, or learners would get something that is not
            for them: an exercise with solutions, or a `folder` with the instructor's site in it.
        RunError: a notebook cannot be read, or `folder` cannot be written.
        DataError: a page needs a dataset's images, and they could not be had.
        DataError: reveal.js, for the slides, is neither cached nor downloadable.
    """
    write_files(folder, {})  # if it cannot be created, fail before the work
    if not instructor:
        _require_nothing_for_instructors(folder)
    groups = _groups(notebooks, instructor)
    pages = [page for group in groups.values() for page in group]
    published = {page.name for page in pages}
    listed_as = {_TITLES[kind]: group for kind, group in groups.items()}
    files, done, found, ways = {}, {}, [], ""
    for before, page, after in zip([None, *pages], pages, [*pages[1:], None], strict=False):
        parts, beside = parts_of(page)
        around = {"here": page, "before": before, "after": after, "parts": parts,
                  "site": listed_as, "twin": _twin(page, groups)}  # fmt: skip
        html = export(page.notebook, "page.html.j2", page.name, published, page=around)
        heads = [(head["id"], head.get_text()) for head in html.main.find_all("h2", id=True)]
        done[page.name] = page._replace(sections=[h for h in heads if h[1] not in _EVERYWHERE])
        ways = ways or _section(html, _MAP)
        found += sections_of(html.main, page)
        _link_sections(html, heads)
        _join_folds(html)
        files[f"{page.name}.html"] = html.encode()
        files[f"{page.name}{page.path.suffix}"] = page.path.read_bytes()
        files |= beside
    files["search.js"] = search_script(found).encode()
    archives = {path.name: path.read_bytes() for path in sorted(student.glob("*.zip"))}
    template = exporter("map.html.j2").environment.get_template("map.html.j2")
    listed = {kind: [done[page.name] for page in group] for kind, group in groups.items()}
    index = template.render(ways=ways, archives=list(archives), **listed)
    build_slides(folder / "slides", [page.path for page in groups["chapters"]])
    write_files(folder, files | archives | {"index.html": index.encode()})  # the index comes last
    return [folder / "index.html", *(folder / f"{page.name}.html" for page in pages)]


def _groups(notebooks: Path, instructor: bool) -> dict[str, list[Page]]:
    """Return the pages in the site's order, under the names that the index's template uses."""

    def read(pattern: str) -> list[Page]:
        found = sorted(notebooks.glob(pattern))
        return [read_page(p, p.relative_to(notebooks).with_suffix("").as_posix()) for p in found]

    chapters = [page._replace(slides=f"slides/{page.name}.html") for page in read("*.ipynb")]
    groups = {"chapters": chapters, "exercises": read("exercises/*.ipynb"), "words": read("*.md")}
    for page in groups["exercises"]:
        _require_unsolved(page, notebooks / "solutions")
    if instructor:
        groups["solutions"] = [
            page._replace(title=f"{page.title}, solved") for page in read("solutions/*.ipynb")
        ]
        groups["guides"] = [read_page(GUIDE, GUIDE.stem)] if GUIDE.is_file() else []
    return groups


def _require_unsolved(page: Page, solutions: Path) -> None:
    """Raise PublishError if an exercise has solutions, or answers that someone tried.

    Only a project with `solutions` has learners to hide answers from.
    """
    if _SOLUTION.search(str(page.notebook)):
        raise PublishError(f"{page.path} has solutions in it; run make exercises to renew it")
    for cell in page.notebook.cells if (solutions / page.path.name).is_file() else ():
        to_solve = cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("solution")
        if cell.get("outputs") or (to_solve and STUB.splitlines()[-1] not in cell.source):
            raise PublishError(
                f"{page.path} has been worked on (see cell {cell.id}), and learners would get "
                "that; keep your copy elsewhere, then run make exercises to renew it"
            )


def _require_nothing_for_instructors(folder: Path) -> None:
    """Raise PublishError if `folder` has files of the instructor's site, from an earlier call."""
    for pattern in _NOT_FOR_LEARNERS:
        for path in folder.glob(pattern):
            raise PublishError(
                f"{path} is not for learners, and would be among their pages; delete the folder "
                f"{folder}, or name another one with -o"
            )


def _section(html: BeautifulSoup, title: str) -> str:
    """Return what stands below the heading `title`, up to the next heading, without code."""
    heading = next((head for head in html.find_all("h2") if head.get_text() == title), None)
    following = heading.find_next_siblings() if heading else ()
    below = takewhile(lambda tag: tag.name != "h2", following)
    return "".join(str(tag) for tag in below if tag.name != "details")


def _twin(page: Page, groups: dict[str, list[Page]]) -> Page | None:
    """Return the exercises of a chapter, or the chapter of exercises; they share a file name."""
    kind = "exercises" if page.slides else "chapters"
    others = (other for other in groups[kind] if other.name != page.name)
    return next((other for other in others if other.path.name == page.path.name), None)


def _join_folds(html: BeautifulSoup) -> None:
    """Fold code that follows folded code together with it, as a thumb cannot tell two apart."""
    for fold in html.select("details.code + details.code"):
        fold.summary.decompose()
        fold.find_previous_sibling("details").extend([*fold.contents])
        fold.decompose()


def _link_sections(html: BeautifulSoup, heads: list[tuple[str, str]]) -> None:
    """List the page's sections in its contents, and make each heading a link to itself."""
    sections = html.new_tag("ul", attrs={"class": "sections"})
    for name, title in heads:
        sections.append(html.new_tag("li"))
        link = html.new_tag("a", href=f"#{name}", string=title)
        sections.contents[-1].append(link)
    if heads:
        html.select_one(".contents [aria-current=page]").insert_after(sections)
    for head in html.main.select("h2[id], h3[id]"):
        if not head.find("a"):
            link = html.new_tag("a", href=f"#{head['id']}", attrs={"class": "here"})
            link.extend([*head.contents])
            head.append(link)
