"""Tools around the notebooks: the command line, `runs`, `verify`, `classroom` and `site`."""
