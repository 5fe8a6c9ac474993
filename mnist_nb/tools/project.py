"""Name the paths of this project and of the folders in it, and what stands for a solution."""

from mnist_nb.files import PROJECT

NOTEBOOKS = PROJECT / "notebooks"
WALKTHROUGH = NOTEBOOKS / "00_walkthrough.ipynb"
SOLUTIONS = NOTEBOOKS / "solutions"  # the originals, with solutions and hidden tests
GUIDE = PROJECT / "docs" / "instructor.md"
STUDENT = PROJECT / "build" / "student"
KIT = PROJECT / "build" / "kit"
GRADES = PROJECT / "build" / "grades"
# these replace a solution; a check that runs the first fails with its message
STUB = '# your code\ncheck(False, "this exercise is not solved yet")'
TEXT_STUB = "*Your answer goes here.*"
