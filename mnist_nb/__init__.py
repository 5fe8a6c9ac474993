"""Provide what the notebooks import, in modules short enough to read before using them.

In docstrings and comments, *the source* is the published notebook that the notebooks follow,
and `In [14]` to `In [20]` are its cells. notebooks/00_walkthrough.ipynb repeats them one by one.
"""


def results(*places, epochs: bool = False):
    """Return a pandas DataFrame with a row per run of the notebooks and folders at `places`.

    With `epochs`, it has a row per epoch. A place can be an address such as s3://..., or a list.
    """
    from mnist_nb.tools.runs import tables  # only now, so that no notebook loads the machinery

    return tables.results(*places, epochs=epochs)
