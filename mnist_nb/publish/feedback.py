"""What a learner gets back: one page that opens anywhere, without hidden tests."""

import html
import re

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

_HIDDEN = re.compile(r"\n*### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS", re.S)
_STYLE = """
body {max-width: 50em; margin: 2em auto; padding: 0 1em; font: 16px/1.5 sans-serif}
.input_prompt, .prompt {display: none}
pre {padding: .6em; overflow-x: auto; background: #f5f5f5; font-size: 14px; line-height: 1.4}
.output_error pre, .output_stderr pre {background: #fde8e8}
td, th {padding: .1em 1em .1em 0; text-align: left}
"""


def page(learner: str, results: dict) -> str:
    """HTML: a table of the points, then each notebook as it was executed.

    `results` has a `grading.Graded` for each exercise. Whatever a learner's outputs may
    contain, no script and nothing that a browser would fetch arrives in the page.
    """
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    points, most = (sum(result[k] for result in results.values()) for k in (0, 1))
    title = f"{html.escape(learner)}: {points:g} of {most:g} points"
    lines = [f"# {title}", "", "| exercises | points | |", "| --- | --- | --- |"]
    for name, result in results.items():
        remark = html.escape(result.remark).replace("|", " ")
        lines.append(f"| {name} | {result.points:g} of {result.most:g} | {remark} |")
    cells = [new_markdown_cell("\n".join(lines))]
    for result in results.values():
        cells += _cells(result.notebook) if result.notebook else []
    exporter = HTMLExporter(template_name="basic", sanitize_html=True)
    try:
        body, _ = exporter.from_notebook_node(new_notebook(cells=cells))
    except Exception:  # an output that is none: the table alone
        body, _ = exporter.from_notebook_node(new_notebook(cells=cells[:1]))
    body = re.sub(r'<img src="(?!data:)[^>]*>', "", body)
    style = _STYLE + HtmlFormatter(nobackground=True).get_style_defs(".highlight")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{style}</style></head><body><main>{body}</main></body></html>\n"
    )


def _cells(notebook: NotebookNode) -> list[NotebookNode]:
    from nbgrader.utils import determine_grade, is_grade

    cells = []
    for cell in notebook.cells:
        cell.source = _HIDDEN.sub("", cell.source)
        for output in cell.get("outputs", []):
            if output.output_type == "error":  # one line, and none of a hidden test
                output.traceback = [f"{output.ename}: {output.evalue}"]
        cells.append(cell)
        if is_grade(cell):
            points, most = determine_grade(cell)
            cells.append(new_markdown_cell(f"**{points:g} of {most:g} points.**"))
    return cells
