"""The page that a learner gets back: his own code whole, no hidden test, and nothing executed."""

import base64
import copy
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from submissions import HIDDEN, ORIGINALS
from test_classroom import needs_nbgrader

from mnist_nb.tools.classroom import feedback
from mnist_nb.tools.classroom.cells import is_test
from mnist_nb.tools.classroom.grading import Graded
from mnist_nb.tools.classroom.student import student_version

sys.path.append(str(Path(__file__).parents[1] / "site"))
from browser import axe_script, chromium, violations

pytestmark = needs_nbgrader
FIRST = "01_architecture"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def blank():
    return student_version(ORIGINALS[FIRST])


@pytest.fixture
def page(tmp_path, blank):
    """Write the page of a learner and return it, with these cells in front of the exercise."""

    def page(*cells, learner="ada", remark="", seconds=60, change=None) -> str:
        notebook = copy.deepcopy(ORIGINALS[FIRST])
        for cell in notebook.cells:
            cell.outputs = []  # the picture of a task among them
        if change:
            change(notebook)
        notebook.cells = [*cells, *notebook.cells]
        results = {FIRST: Graded(1, 8, remark, {}, notebook)}
        path = tmp_path / "page.html"
        feedback.write_page(path, learner, results, {FIRST: blank}, seconds)
        return path.read_text(encoding="utf-8")

    return page


def plain(page: str) -> str:
    from bs4 import BeautifulSoup

    return BeautifulSoup(page, "html.parser").get_text()


NASTY = [
    "[click](javascript:alert(1))", SCRIPT, "**bold** `code` | pipe",
    "<img src=x onerror=alert(1)>", "$x$ &amp; &lt;b&gt;", "# heading",
    "![](http://example.org/x.png)", "</pre></main><b>",
]  # fmt: skip


@pytest.mark.parametrize("text", NASTY)
def test_names_remarks_texts_code_and_outputs_are_shown_as_they_are(page, text):
    code = new_code_cell(text, outputs=[
        new_output("stream", text=text), new_output("error", ename=text, evalue=text),
        new_output("display_data", data={"text/html": text}),
    ])  # fmt: skip
    made = page(code, new_markdown_cell(text), learner=text, remark=text)
    assert plain(made).count(text) >= 7
    assert not re.search(r"<(script|img|b>|strong>bold)|javascript:[^<]*\"|href=\"java", made)


def test_our_own_text_is_rendered_and_no_link_leads_to_a_file_that_is_not_there(page):
    made = page()
    assert "<h3>Task 1: How close was it?" in made and "<em>" in made
    assert not re.search(r"(href|src)=\"(?!https?://|#)", made)
    assert "chapter 01" in plain(made)


def test_a_learners_code_is_shown_whole_even_between_the_marks_of_hidden_tests(page):
    cheat = "### BEGIN HIDDEN TESTS\nget_ipython().input_transformers_cleanup.clear()\n" \
            "### END HIDDEN TESTS"  # fmt: skip

    def change(notebook):
        margin = next(cell for cell in notebook.cells if cell.id == "margin")
        margin.source = cheat

    for made in (page(new_code_cell(cheat)), page(change=change)):
        assert cheat in plain(made)


def test_no_hidden_test_is_on_the_page(page):
    made = plain(page())
    for line in HIDDEN.findall("\n".join(cell.source for cell in ORIGINALS[FIRST].cells)):
        for part in line.splitlines()[1:-1]:
            seen = any(part.strip() in HIDDEN.sub("", c.source) for c in ORIGINALS[FIRST].cells)
            assert seen or part.strip() not in made or len(part.strip()) < 15, part
    sentence = "for some scores the margin is not highest minus second highest"
    said = new_code_cell("", outputs=[new_output("error", ename="NotYet", evalue=sentence)])
    assert sentence in page(said)


PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n and so on").decode()


def test_the_page_says_at_its_top_where_points_were_lost_and_leads_there(page):
    def change(notebook):
        checks = [cell for cell in notebook.cells if is_test(cell)]
        for cell, said in zip(checks, ("0 of 1 points.", "2 of 2 points."), strict=False):
            cell.metadata["mnist_nb_points"] = said

    text = page(change=change)
    top, _, below = text.partition("</table>")
    (anchor,) = re.findall(r'<a href="#(lost-\d+)">Task 1: [^<]+: 0 of 1 points\.</a>', top)
    assert f'id="{anchor}"' in below and "2 of 2 points." not in top


@pytest.mark.parametrize(
    ("content", "shown"), [(PNG, True), ("PHN2Zz4=", False), ('"><script>', False), (5, False)]
)
def test_a_picture_is_shown_if_it_is_one(page, content, shown):
    (output,) = feedback.outputs_of(
        [
            {
                "output_type": "display_data",
                "data": {"image/png": content, "text/plain": "a sketch of z"},
            }
        ]
    )
    made = page(new_code_cell("", outputs=[output]))
    assert (
        ("<img " in made) == shown and ("a sketch of z" in made) != shown and "<script" not in made
    )


@pytest.mark.parametrize(
    "said", [None, 5, [5], [{"output_type": []}], [{"output_type": "error", "ename": {}}],
             [{"data": []}], [{"output_type": "stream", "text": ["\ud800"]}], [{}] * 10_000],
)  # fmt: skip
def test_outputs_that_a_learners_process_made_up_are_outputs_or_nothing(said):
    outputs = feedback.outputs_of(said)
    cell = new_code_cell("", outputs=outputs)
    nbformat.validate(nbformat.v4.new_notebook(cells=[cell]))
    assert len(outputs) <= 50


def test_a_long_output_is_cut(page):
    made = page(new_code_cell("", outputs=[new_output("stream", text="x" * 10_000)]))
    assert "x" * 5_000 in made and "x" * 5_001 not in made


def test_a_cell_that_does_not_count_is_shown_and_said_to_be_so(page):
    made = plain(page(nbformat.v4.new_raw_cell("def margin(s): pass")))
    assert "does not count and was not executed:\ndef margin(s): pass" in made.replace(
        "\n\n", "\n"
    )


def test_120_000_blank_lines_are_a_coloured_page(page, monkeypatch):
    def change(notebook):
        margin = next(cell for cell in notebook.cells if cell.id == "margin")
        margin.source = "def margin(scores):" + "\n" * 120_000 + "    return scores  # mine"

    made = page(change=change, seconds=100)
    assert "# (many blank lines)" in made and '<span class="c1"># mine</span>' in made


@pytest.mark.parametrize("limit", ["time", "memory"])
def test_a_page_that_takes_too_long_or_too_much_is_made_without_colours(page, monkeypatch, limit):
    if limit == "memory":
        monkeypatch.setattr(feedback, "prlimit_prefix", lambda: ["prlimit", "--as=8000000"])
    made = page(new_code_cell("x = 1  # mine"), seconds=0.01 if limit == "time" else 60)
    assert "x = 1  # mine</pre>" in made and "<h1>ada: 1 of 8 points</h1>" in made


def test_a_page_is_accessible_in_the_light_and_in_the_dark(page, tmp_path):
    code = (
        "import torch\n@wraps\ndef f(x: int = 1) -> str:\n    '''text'''\n    return f'{x}' + 1.0"
    )
    outputs = [new_output("stream", text="x" * 4_000)]
    page(new_code_cell(f"{code}  # a comment", outputs=outputs), new_markdown_cell("text"))
    script = axe_script()
    with chromium() as browser:
        for scheme in ("light", "dark"):
            tab = browser.new_page(color_scheme=scheme)
            tab.goto((tmp_path / "page.html").as_uri())
            assert violations(tab, script, every=True) == []
            colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
            assert colour == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 29)"}[scheme]
