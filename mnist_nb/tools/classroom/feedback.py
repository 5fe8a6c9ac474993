"""Write a learner's feedback: one HTML page with points and executed notebooks.

`grading.grade` calls `page`, which leaves out hidden tests.
"""

import html
import re

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook, new_output

_HIDDEN = re.compile(r"\n*### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS", re.S)
_LONGEST = 5_000  # characters of an output that are shown
_STYLE = """
body {max-width: 50em; margin: 2em auto; padding: 0 1em; font: 16px/1.5 sans-serif}
.input_prompt, .prompt {display: none}
pre {padding: .6em; overflow-x: auto; background: #f5f5f5; font-size: 14px; line-height: 1.4}
.output pre {background: #fdf3e0}
td, th {padding: .1em 1em .1em 0; text-align: left}
"""


def page(learner: str, results: dict) -> str:
    """Return the page of `learner` as HTML: a table of points, then the executed notebooks.

    `results` maps the name of each exercise to a `grading.Graded`. Only text outputs are shown,
    so that the page contains no script from a submission.
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
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # notebooks share ids such as "title"
    exporter = HTMLExporter(template_name="basic", exclude_anchor_links=True)
    body, _ = exporter.from_notebook_node(new_notebook(cells=cells))
    style = _STYLE + HtmlFormatter(nobackground=True).get_style_defs(".highlight")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{style}</style></head><body><main>{body}</main></body></html>\n"
    )


def _cells(notebook: NotebookNode) -> list[NotebookNode]:
    from nbgrader.utils import determine_grade, is_grade

    cells = []
    grades = {cell.id: determine_grade(cell) for cell in notebook.cells if is_grade(cell)}
    for cell in notebook.cells:
        cell.source = _HIDDEN.sub("", cell.source)
        if "outputs" in cell:
            cell.outputs = [new_output("stream", text=text) for text in map(_text, cell.outputs)]
        elif "nbgrader" in cell.metadata:  # a text cell that the learner wrote
            cell.source = html.escape(cell.source)
        cells.append(cell)
        if cell.id in grades:
            points, most = grades[cell.id]
            cells.append(new_markdown_cell(f"**{points:g} of {most:g} points.**"))
    return cells


def _text(output: NotebookNode) -> str:
    """Return an output as text: a long one is cut, an error is its name and message."""
    if output.output_type == "error":  # its traceback would show hidden tests
        text = f"{output.ename}: {output.evalue}"
    else:
        text = str(output.get("text") or output.get("data", {}).get("text/plain") or "(no text)")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
