"""Do once what each kernel would otherwise do again: find fonts, compile patterns, fill caches.

`launcher.py` runs this file after its imports and before the first fork. Nothing here may start a
thread, draw a random number or compute with torch, as a forked kernel has to be as a fresh one.
"""

import contextlib
import sys

with contextlib.suppress(Exception):  # a kernel then does it itself
    from IPython.core.inputtransformer2 import TransformerManager

    TransformerManager().transform_cell("x = 1\n")

with contextlib.suppress(Exception):
    if "matplotlib.backends.backend_agg" in sys.modules:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        line, picture = figure.subplots(1, 2)
        line.plot([1, 2], [1, 2], marker="o", label="line")
        line.legend()
        picture.imshow([[0, 1], [1, 0]], cmap="gray_r")
        picture.set_title("picture", fontsize=11)
        FigureCanvasAgg(figure).draw()

with contextlib.suppress(Exception):
    if "pandas" in sys.modules:
        sys.modules["pandas"].DataFrame({"x": [1.5]}).to_html()
