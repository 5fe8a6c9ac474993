"""Turn a figure into the still content of a part that computes in the browser."""

import base64
import io
from html import escape

from matplotlib.figure import Figure

NOTE = "{} It works once you have run the cells above and this one, and on the chapter's page."


def still(figure: Figure, alt: str, what: str) -> str:
    """Return `figure` as HTML with its alt text, and a sentence that says `what` belongs here."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100, metadata={"Software": None})
    picture = base64.b64encode(png.getvalue()).decode()
    return (
        f'<figure><img src="data:image/png;base64,{picture}" alt="{escape(alt)}">'
        f"<figcaption>{escape(NOTE.format(what))}</figcaption></figure>"
    )
