"""Name the paths of this project and of the folders in it."""

from mnist_nb.files import PROJECT

NOTEBOOKS = PROJECT / "notebooks"
WALKTHROUGH = NOTEBOOKS / "00_walkthrough.ipynb"
EXERCISES = NOTEBOOKS / "exercises"  # what learners open, without solutions
SOLUTIONS = NOTEBOOKS / "solutions"  # the originals, with solutions and hidden tests
GUIDE = PROJECT / "docs" / "instructor.md"
STUDENT = PROJECT / "build" / "student"
GRADES = PROJECT / "build" / "grades"
