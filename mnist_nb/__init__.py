"""Provide what the notebooks import, in modules short enough to read before using them.

In docstrings and comments, *the source* is the published notebook that the notebooks follow,
and `In [14]` to `In [20]` are its cells. notebooks/00_walkthrough.ipynb repeats them one by one.
"""
