"""Run, check, grade and publish the notebooks: `runs`, `verify`, `classroom`, `site`, `cli`."""
