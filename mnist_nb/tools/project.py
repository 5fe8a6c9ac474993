"""Where this project lies, and what it keeps where."""

from mnist_nb.files import PROJECT

NOTEBOOKS = PROJECT / "notebooks"
WALKTHROUGH = NOTEBOOKS / "00_walkthrough.ipynb"
EXERCISES = NOTEBOOKS / "exercises"
GUIDE = PROJECT / "docs" / "instructor.md"
STUDENT = PROJECT / "build" / "student"
GRADES = PROJECT / "build" / "grades"
