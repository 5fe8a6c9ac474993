"""Write the results of runs as one page, which needs no other file and no network."""

import base64
import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 2rem; }}
img {{ max-width: 100%; height: auto; background: white; }}
div {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 0.2rem 0.8rem; text-align: right; border-bottom: 1px solid #888; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{picture}<div role="region" aria-label="Table" tabindex="0">
{table}
</div>
{notes}</main>
</body>
</html>"""


def page(title: str, frame: "pd.DataFrame", svg: bytes | None, alt: str, notes: list[str]) -> str:
    """Return a page with a table, a plot with its alt text, if there is one, and notes."""
    picture = ""
    if svg:
        data = base64.b64encode(svg).decode()
        picture = f'<p><img alt="{html.escape(alt)}" src="data:image/svg+xml;base64,{data}"></p>\n'
    return _PAGE.format(title=html.escape(title), picture=picture,
                        table=frame.to_html(index=False, border=0),
                        notes="".join(f"<p>{html.escape(n)}</p>\n" for n in notes))  # fmt: skip
