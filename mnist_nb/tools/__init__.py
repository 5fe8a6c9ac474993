"""The machinery around the notebooks: `runs`, `verify`, `classroom`, `site`, and the command."""
