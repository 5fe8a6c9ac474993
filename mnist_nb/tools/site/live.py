"""Put below the cells of a page what they ask for and only a page can have."""

import importlib
import posixpath

from mnist_nb import live
from mnist_nb.tools.site.html import Page, PublishError


def parts_of(page: Page) -> tuple[dict[str, str], dict[str, bytes]]:
    """Return what the cells of `page` ask for: cell id -> HTML, and the files that it loads.

    A cell asks with its metadata, {"mnist_nb": {"live": NAME}}; then `on_page` in mnist_nb/live/
    NAME.py makes the HTML and its files, from the notebook. The files go beside the page.

    Raises:
        PublishError: there is no such part.
    """
    parts, files = {}, {}
    for cell in page.notebook.cells:
        name = cell.metadata.get("mnist_nb", {}).get("live")
        if name is None:
            continue
        if name not in live.ON_PAGES:
            raise PublishError(
                f"{page.path}: the metadata of cell {cell.id} asks for the live part {name!r}; "
                f"correct it to one of: {', '.join(sorted(live.ON_PAGES))}"
            )
        maker = importlib.import_module(f"mnist_nb.live.{name}")
        parts[cell.id], beside = maker.on_page(page.notebook)
        folder = posixpath.dirname(page.name)
        files |= {posixpath.join(folder, file): content for file, content in beside.items()}
    return parts, files
