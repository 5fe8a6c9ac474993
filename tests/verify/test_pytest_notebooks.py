"""`pytest NOTEBOOK`, however it is called: the same comparison, or one sentence."""

import importlib.metadata
import json
import os
import subprocess
import sys

import nbformat
import pytest
from conftest import PROJECT, WITHOUT, settings_for, small_notebook

from mnist_nb.tools.settings import isolated
from mnist_nb.tools.verify.refresh import refresh


def notebook(path, *cells):
    """A notebook of (source, what it printed) cells, as it is stored when executed."""
    path.parent.mkdir(exist_ok=True)
    stored = nbformat.v4.new_notebook()
    for number, (source, printed) in enumerate(cells, start=1):
        outputs = [nbformat.v4.new_output("stream", text=printed)] if printed else []
        stored.cells.append(
            nbformat.v4.new_code_cell(source, execution_count=number, outputs=outputs)
        )
    nbformat.write(stored, path)
    return path


# each cell is right only after all those before it, each executed once
CHAIN = [("x = 1\nprint(x)", "1\n"), *[("x *= 2\nprint(x)", f"{2**n}\n") for n in (1, 2, 3)]]


def run_pytest(folder, *arguments, settings=True, **environment):
    """What pytest says in `folder`, with this project's settings or without any."""
    ours = [*settings_for(folder), "-o", "cache_dir=.cache"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--color=no", *(ours if settings else []), *arguments],
        cwd=folder, capture_output=True, text=True, timeout=600,
        env={k: v for k, v in os.environ.items() if k != "CI"} | environment,
    )  # fmt: skip
    return done.stdout + done.stderr


BACKWARDS = """\
import pytest

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.name[::-1], reverse=True)
    yield
    items.sort(key=lambda item: item.name[::-1], reverse=True)
"""


# of loadgroup our own scheduler makes what it makes of load
@pytest.mark.parametrize(
    "dist", ["load", "loadscope", pytest.param("loadgroup", marks=pytest.mark.whole)]
)
def test_cells_stay_together_and_in_order_though_shuffled_and_dealt_to_workers(tmp_path, dist):
    first = "with open('begun', 'a') as file:\n    print(file.write('1'))", "1\n"
    notebooks = [notebook(tmp_path / f"{name}.ipynb", first, *CHAIN).name for name in "ab"]
    (tmp_path / "backwards.py").write_text(BACKWARDS)
    said = run_pytest(
        tmp_path, "-n2", f"--dist={dist}", "-p", "backwards", *notebooks, PYTHONPATH=str(tmp_path)
    )
    assert "10 passed" in said, said
    assert (tmp_path / "begun").read_text() == "11", "each notebook was begun once"


def test_a_cell_alone_has_all_cells_before_it_run_first(tmp_path):
    notebook(tmp_path / "right.ipynb", *CHAIN)
    notebook(tmp_path / "wrong.ipynb", *CHAIN[:3], ("x *= 2\nprint(x)", "9\n"))
    notebook(tmp_path / "broken.ipynb", ("y = z", ""), *CHAIN)
    alone = [f"{name}.ipynb::Cell 3" for name in ("right", "wrong", "broken")]
    said = run_pytest(tmp_path, *alone)
    assert "2 failed, 1 passed" in said, said
    assert "Cell 0" in said and said.count("NameError: name 'z' is not defined") == 1
    again = run_pytest(tmp_path, "--lf", ".")
    assert "2 failed" in again and "passed" not in again
    notebook(tmp_path / "wrong.ipynb", *CHAIN)
    mended = run_pytest(tmp_path, "--ff", "wrong.ipynb", "right.ipynb")
    assert "8 passed" in mended, mended


DIES = """\
import os, sys

if "ipykernel_launcher" in sys.orig_argv and os.path.exists("die"):
    if os.path.exists("once"):
        os.remove("die")
    print("no room for kernels", file=sys.stderr)
    sys.exit(1)
"""


def test_a_kernel_that_dies_and_a_cell_that_hangs_are_told_once(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(DIES)
    for name in ("once", "always"):
        notebook(tmp_path / name / "start.ipynb", *CHAIN)
        (tmp_path / name / "die").touch()
    (tmp_path / "once" / "once").touch()
    ends = "import os\n_ = os.write(2, b'no room for more\\n')\nos._exit(1)"
    notebook(tmp_path / "midst.ipynb", CHAIN[0], (ends, ""), *CHAIN[1:])
    notebook(tmp_path / "hangs.ipynb", CHAIN[0], ("__import__('time').sleep(500)", ""), *CHAIN[1:])
    fresh = {"PYTHONPATH": str(tmp_path), "MNIST_NB_WARM": "0"}  # a forked one imports no site
    said = run_pytest(tmp_path, "--nbval-cell-timeout=2", ".", **fresh)
    assert "12 failed, 6 passed" in said, said
    report = said.partition("short test summary")[0]
    assert report.count("no room for kernels") == 1 and report.count("no room for more") == 1
    assert "Timeout of 2 seconds" in report
    assert len(said.splitlines()) < 120, said


def test_what_goes_beyond_nbval_is_for_this_project_alone(tmp_path):
    never = small_notebook(tmp_path / "never.ipynb", "1 + 1")  # nbval lets it pass
    assert "1 passed" in run_pytest(tmp_path, "--nbval", never, *WITHOUT, settings=False)
    plugins = importlib.metadata.entry_points(group="pytest11")
    assert not [plugin for plugin in plugins if plugin.module.startswith("mnist_nb")]


def test_a_chapter_is_verified_from_any_working_folder(tmp_path):
    chapter = PROJECT / "notebooks" / "00_walkthrough.ipynb"
    said = run_pytest(tmp_path, "--collect-only", chapter, settings=False)
    assert f"rootdir: {PROJECT}" in said and "<Notebook 00_walkthrough.ipynb>" in said


SHOWS = """\
import sys, warnings
import matplotlib
import pandas

print(matplotlib.rcParams["font.size"], matplotlib.rcParams["lines.linewidth"])
print(matplotlib.get_backend(), pandas.get_option("display.precision"))
print(sys.flags.optimize, "personal" in globals())
warnings.warn("old", PendingDeprecationWarning, stacklevel=1)
"""
SHOWN = "10.0 1.5\nmodule://matplotlib_inline.backend_inline 6\n0 False\n"


@pytest.fixture
def personal(tmp_path):
    """The environment of somebody who has set all that can be set."""
    home, work = tmp_path / "home", tmp_path / "work"
    startup = "import pandas\npandas.set_option('display.precision', 2)\npersonal = 1\n"
    config = "c.InteractiveShellApp.exec_lines = ['personal = 2']\n"
    files = {
        home / ".config/matplotlib/matplotlibrc": "font.size: 20\n",
        home / "own/matplotlibrc": "font.size: 21\n",
        work / "matplotlibrc": "lines.linewidth: 9\n",
        home / ".ipython/profile_default/startup/00-own.py": startup,
        home / ".ipython/profile_default/ipython_config.py": f"c = get_config()\n{config}",
        home / ".ipython/profile_default/ipython_kernel_config.py": f"c = get_config()\n{config}",
        home / ".jupyter/ipython_kernel_config.py": f"c = get_config()\n{config}",
        home / ".jupyter/jupyter_config.json": json.dumps(
            {"InteractiveShellApp": {"exec_lines": ["personal = 3"]}}
        ),
        home / "kernels/python3/kernel.json": json.dumps(
            {"argv": ["false"], "display_name": "another", "language": "python"}
        ),
        home / "startup.py": "personal = 4\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {
        "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "MPLBACKEND": "svg",
        "MATPLOTLIBRC": str(home / "own"), "PYTHONSTARTUP": str(home / "startup.py"),
        "PYTHONWARNINGS": "default", "PYTHONOPTIMIZE": "1", "JUPYTER_PATH": str(home),
        "JUPYTER_CONFIG_DIR": str(home / ".jupyter"),
    }  # fmt: skip


def outputs(path) -> list:
    return [output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]


def test_own_settings_reach_no_notebook(tmp_path, personal, command, monkeypatch):
    work = tmp_path / "work"
    shows = notebook(work / "shows.ipynb", (SHOWS, SHOWN))
    given = small_notebook(work / "given.ipynb", f"_ = seed\n{SHOWS}", parameters="seed = 1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    optimize = personal.pop("PYTHONOPTIMIZE")  # pytest itself refuses to work without asserts
    said = run_pytest(work, shows, **personal)
    assert "1 passed" in said, said
    personal["PYTHONOPTIMIZE"] = optimize
    done = command("run", given, "-o", tmp_path / "runs", cwd=work, **personal)
    assert done.returncode == 0, done.stderr
    (result,) = (tmp_path / "runs").glob("*.ipynb")
    assert [output.get("text") for output in outputs(result)] == [SHOWN]
    for name, value in personal.items():
        monkeypatch.setenv(name, value)
    refresh(shows)
    assert [output.text for output in outputs(shows)] == [SHOWN]
    assert not list(tmp_path.glob("mnist-nb*"))


@pytest.mark.whole  # its workers start a kernel in the way that `run` does
def test_own_settings_reach_no_notebook_of_a_sweep(tmp_path, personal, command):
    work = tmp_path / "work"
    given = small_notebook(work / "given.ipynb", f"_ = seed\n{SHOWS}", parameters="seed = 1")
    done = command("sweep", given, "-g", "seed", "1", "-o", "out", cwd=work, **personal)
    assert done.returncode == 0, done.stderr
    (result,) = (work / "out").rglob("*.ipynb")
    assert [output.get("text") for output in outputs(result)] == [SHOWN]


def test_a_home_and_a_project_that_cannot_be_written_do_no_harm(tmp_path, command):
    shows = notebook(tmp_path / "shows.ipynb", (SHOWS, SHOWN))
    nowhere = {"HOME": "/dev/null/home"}
    said = run_pytest(tmp_path, shows, "-o", "cache_dir=/dev/null/cache", **nowhere)
    assert "1 passed" in said, said
    done = command("run", shows, "-o", tmp_path / "runs", **nowhere)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert [output.text for output in outputs(tmp_path / "runs" / "shows.ipynb")] == [SHOWN]


def test_modules_stay_where_they_were_told_to_be(tmp_path):
    given = {"PYTHONPATH": "there", "PYTHONOPTIMIZE": "2", "MNIST_NB_DATA": "data"}
    left = isolated(given, tmp_path)
    assert left["PYTHONPATH"] == os.path.abspath("there") and left["MNIST_NB_DATA"] == "data"
    assert "PYTHONOPTIMIZE" not in left
