"""Build the site: each notebook as one HTML file without scripts or requests, and an index."""

import re
from itertools import takewhile
from pathlib import Path

from bs4 import BeautifulSoup

from mnist_nb.tools.project import GUIDE, NOTEBOOKS, STUDENT
from mnist_nb.tools.site.html import PublishError, export, exporter, read_page, write_files
from mnist_nb.tools.site.slides import build_slides

_SOLUTION = re.compile(r"###\s*BEGIN (SOLUTION|HIDDEN TESTS)")
_EVERYWHERE = ("What we need", "What you have seen")  # sections that the index leaves out
_MAP = "Where to go from here"  # the section that the index repeats


def build_site(folder: Path, notebooks: Path = NOTEBOOKS, student: Path = STUDENT) -> list[Path]:
    """Write pages, index, slides and downloads into `folder`; return the pages, index first.

    Exercises come from `student`, where they have no solutions. The Markdown files beside the
    notebooks (the glossary) follow, and the instructor's guide is the last page.

    Raises:
        PublishError: a formula cannot be converted, or an exercise in `student` has solutions.
        RunError: a notebook cannot be read, or `folder` cannot be written.
        WheelError: reveal.js, for the slides, is neither cached nor downloadable.
    """
    write_files(folder, {})  # if it cannot be created, fail before the work
    chapters = [read_page(path, path.stem) for path in sorted(notebooks.glob("*.ipynb"))]
    given = {path.name: path for path in sorted(student.rglob("exercises/*.ipynb"))}
    exercises = [read_page(path, f"exercises/{path.stem}") for _, path in sorted(given.items())]
    for page in exercises:
        if _SOLUTION.search(str(page.notebook)):
            raise PublishError(f"{page.path} has solutions in it; run make student again")
    chapters = [page._replace(slides=f"slides/{page.name}.html") for page in chapters]
    words = [read_page(path, path.stem) for path in sorted(notebooks.glob("*.md"))]
    guides = [read_page(GUIDE, GUIDE.stem)] if GUIDE.is_file() else []
    pages = [*chapters, *exercises, *words, *guides]
    published = {page.name for page in pages}
    files, done, ways = {}, [], ""
    for before, page, after in zip([None, *pages], pages, [*pages[1:], None], strict=False):
        around = {"here": page, "before": before, "after": after}
        html = export(page.notebook, "page.html.j2", page.name, published, page=around)
        heads = [(head["id"], head.get_text()) for head in html.main.find_all("h2", id=True)]
        done.append(page._replace(sections=[h for h in heads if h[1] not in _EVERYWHERE]))
        files[f"{page.name}.html"] = html.encode()
        ways = ways or _section(html, _MAP)
        files[f"{page.name}{page.path.suffix}"] = page.path.read_bytes()
    archives = {path.name: path.read_bytes() for path in sorted(student.glob("*.zip"))}
    template = exporter("map.html.j2").environment.get_template("map.html.j2")
    n, m = len(chapters), len(chapters) + len(exercises)
    index = template.render(ways=ways, chapters=done[:n], exercises=done[n:m], words=words,
                            guides=guides, sections=done[-1].sections,
                            archives=list(archives))  # fmt: skip
    build_slides(folder / "slides", [page.path for page in chapters])
    write_files(folder, files | archives | {"index.html": index.encode()})  # the index comes last
    return [folder / "index.html", *(folder / f"{page.name}.html" for page in pages)]


def _section(html: BeautifulSoup, title: str) -> str:
    """Return what stands below the heading `title`, up to the next heading, without code."""
    heading = next((head for head in html.find_all("h2") if head.get_text() == title), None)
    following = heading.find_next_siblings() if heading else ()
    below = takewhile(lambda tag: tag.name != "h2", following)
    return "".join(str(tag) for tag in below if tag.name != "details")
