"""Make the HTML of a learner's feedback; `feedback` starts this module with what the page shows.

It imports little, as it starts for each learner.
"""

import html
import json
import re
import sys
from pathlib import Path

_STYLE = Path(__file__).with_name("feedback.css")
# a part of the page: its kind (such as "code" or "picture"), and its text
Part = tuple[str, str]


def html_of(
    learner: str, rows: list, parts: list[Part], ours: dict[str, str], coloured: bool = True
) -> str:
    """Return the page as HTML.

    A row has an exercise, its points, their maximum and a remark. `ours` maps the exercises' own
    texts from Markdown to HTML; what a learner wrote is shown as plain text, or as code.
    """
    points, most = (sum(row[k] for row in rows) for k in (1, 2))
    title = html.escape(f"{learner}: {points:g} of {most:g} points")
    parts, lost = _numbered(parts)
    lines = [
        f"<tr><th scope=row>{_linked(html.escape(name), name in lost)}</th>"
        f"<td>{points:g} of {most:g}</td>"
        f"<td>{'<br>'.join([*filter(None, [html.escape(remark)]), *lost.get(name, [])])}</td></tr>"
        for name, points, most, remark in rows
    ]
    head = "<tr>" + "".join(f"<th scope=col>{t}</th>" for t in ("exercises", "points", "remark"))
    body = "\n".join(
        ours[text] if kind == "ours" else _part(kind, text, coloured) for kind, text in parts
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{_STYLE.read_text(encoding='utf-8')}</style></head><body><main>\n"
        f"<h1>{title}</h1>\n<table>{head}</tr>{''.join(lines)}</table>\n{body}\n</main></body></html>\n"
    )


def _numbered(parts: list[Part]) -> tuple[list[Part], dict[str, list[str]]]:
    """Return the parts, those with lost points numbered; for each exercise, links to those."""
    kept, lost, exercise, task = [], {}, "", ""
    for kind, text in parts:
        if kind == "heading":
            exercise, task = text, ""
            lost[exercise] = []
        elif kind == "ours" and (found := re.search(r"^## (.+?)( \*\(.*)?$", text, re.M)):
            task = found[1]
        elif kind == "lost":
            number = sum(map(len, lost.values()))
            title = html.escape(f"{task}: {text}" if task else text)
            lost[exercise].append(f'<a href="#lost-{number}">{title}</a>')
            kind = f"lost-{number}"
        kept.append((kind, text))
    return kept, lost


def _linked(name: str, there: bool) -> str:
    return f'<a href="#{name}">{name}</a>' if there else name


def _part(kind: str, text: str, coloured: bool) -> str:
    """Return a part as HTML; every region that scrolls can be reached with the keyboard."""
    plain = html.escape(text)
    if kind == "code":
        text = re.sub(r"\n{20,}", "\n\n# (many blank lines)\n\n", text)
        plain = html.escape(text)
    if kind == "code" and coloured:
        plain = _coloured(text)
    if kind == "picture":
        return (
            f'<p><img alt="a picture that the cell made" src="data:image/png;base64,{plain}"></p>'
        )
    if kind == "heading":
        return f'<h2 id="{plain}">{plain}</h2>'
    if kind == "points":
        return f"<p><strong>{plain}</strong></p>"
    if kind.startswith("lost-"):
        return f'<p id="{kind}"><strong>{plain}</strong></p>'
    note = "<p>This cell does not count and was not executed:</p>" * (kind == "not counted")
    name = {"code": "highlight", "output": "output"}.get(kind, "text")
    return f'{note}<pre class="{name}" tabindex="0">\n{plain}</pre>'


def _coloured(text: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    # IPython's lexer takes minutes for many empty lines
    lexer = PythonLexer(stripnl=False, ensurenl=False)
    return highlight(text, lexer, HtmlFormatter(nowrap=True))


if __name__ == "__main__":
    sys.stdout.buffer.write(html_of(*json.load(sys.stdin.buffer)).encode())
