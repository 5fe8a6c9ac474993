"""Put the cells of a submission back into the exercise, and say what had to be changed.

`grading` calls `repaired` with the cells that `handed_in` found.
"""

import re
from collections import defaultdict

import nbformat
from nbformat import NotebookNode

from mnist_nb.tools.classroom.cells import Cell, defined, is_solution, name_of, parses, same

_TRIED = 200_000  # characters that are parsed to join the parts of a solution


def repaired(cells: list[Cell], blank: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """Return `blank` with the learner's solutions and additional cells, and remarks.

    This restores deleted cells as blanks, puts moved cells back in place, and undoes changes to
    checks or metadata. Of several versions of a solution, one counts; the others become raw.
    """
    order = {name_of(cell): number for number, cell in enumerate(blank.cells)}
    known = [cell for cell in cells if cell.name in order]
    copies, behind, last = defaultdict(list), defaultdict(list), None
    for cell in cells:
        if cell.name in order:
            last = cell.name
            copies[last].append(cell)
        elif cell.source.strip():
            behind[last].append(_own(cell))
    result, remarks = behind[None], []
    for ours in blank.cells:
        name = name_of(ours)
        before, after = [], []
        if not is_solution(ours):
            after = _locked(ours, copies[name], remarks)
        elif copies[name]:
            in_place = [_is_in_place(cell, known, order) for cell in copies[name]]
            before, after = _solve(ours, copies[name], in_place, remarks)
        elif alias := next((c for c in copies if _defines(ours, copies[c])), None):
            ours.source = f"# this solution was found in the cell {alias}"
        else:
            remarks.append(f'the cell "{name}" is missing, so it counts as not solved')
        result += [*before, ours, *after, *behind[name]]
    for number, cell in enumerate(result):
        if isinstance(cell.metadata.get("mnist_nb"), str):  # a dictionary there is ours
            cell.id = f"own-{number}"
    blank.cells = result
    return blank, remarks


def _defines(ours: NotebookNode, cells: list[Cell]) -> bool:
    names = defined(ours.source)
    return bool(names) and any(c.kind == "code" and names <= defined(c.source) for c in cells)


def _own(cell: Cell, counts: bool = True) -> NotebookNode:
    """Return an additional cell of the learner's; one that does not count is not executed."""
    make = nbformat.v4.new_code_cell if cell.kind == "code" else nbformat.v4.new_markdown_cell
    make = make if counts else nbformat.v4.new_raw_cell
    return make(cell.source, metadata={"mnist_nb": "own" if counts else "not counted"})


def _is_in_place(cell: Cell, known: list[Cell], order: dict[str, int]) -> bool:
    """Return whether the nearest named cells come before and after `cell` in the exercise, too."""
    here = next(number for number, other in enumerate(known) if other is cell)
    left = [order[c.name] for c in known[:here] if c.name != cell.name][-1:] or [-1]
    right = [order[c.name] for c in known[here:] if c.name != cell.name][:1] or [len(order)]
    return left[0] < order[cell.name] < right[0]


def _locked(ours: NotebookNode, copies: list[Cell], remarks: list[str]) -> list[NotebookNode]:
    """Return what a learner added to a cell of ours: a text, or imports; add a remark."""
    changed = [cell for cell in copies if not same(cell.source, ours.source)]
    if ours.cell_type != "code":
        return [_own(cell) for cell in changed]
    if not changed:
        return []
    lines = set(ours.source.splitlines())
    added = [line for c in changed for line in c.source.splitlines() if line not in lines]
    imports = [line for line in added if re.match(r"(import|from) ", line) and parses(line)]
    kept = f"; of what it adds, only {', '.join(imports)} was kept, in a new cell" * bool(imports)
    remarks.append(f'the locked cell "{name_of(ours)}" was changed and is put back{kept}')
    return [_own(Cell("code", "\n".join(imports)))] if imports else []


def _solve(
    ours: NotebookNode, copies: list[Cell], in_place: list[bool], remarks: list[str]
) -> tuple[list[NotebookNode], list[NotebookNode]]:
    """Write the solution that counts into `ours`; return the other cells, before and after it."""
    parts = _joined(copies, in_place)
    names = defined(ours.source)
    versions = [k for k, (cell, _) in enumerate(parts) if names <= defined(cell.source)]
    if len(parts) == 1 or not names or not versions:
        ours.source = "\n".join(c.source for c, _ in parts if not same(c.source, ours.source))\
            or ours.source  # fmt: skip
        return [], []

    def worth(k: int) -> tuple:
        cell, placed = parts[k]
        return not same(cell.source, ours.source), parses(cell.source), placed, \
            cell.id == name_of(ours), k  # fmt: skip

    best = max(versions, key=worth)
    if len(versions) > 1:
        number = versions.index(best) + 1
        second = max((k for k in versions if k != best), key=worth)
        reasons = ("the one that was worked on", "the one that is complete", "in its place",
                   "the one with the original's id", "the last one")  # fmt: skip
        first = next(n for n, (a, b) in enumerate(zip(worth(best), worth(second), strict=True))
                     if a != b)  # fmt: skip
        why = "the one in the original's place" if parts[best][1] else reasons[first]
        remarks.append(f'the cell "{name_of(ours)}" is there {len(versions)} times; number '
                       f"{number} counts, {why}")  # fmt: skip
    ours.source = parts[best][0].source
    others = [_own(cell, counts=k not in versions) for k, (cell, _) in enumerate(parts)]
    return others[:best], others[best + 1 :]


def _joined(copies: list[Cell], in_place: list[bool]) -> list[tuple[Cell, bool]]:
    """Return the cells, with the parts of one that was split in the middle joined."""
    parts, k, left = [], 0, _TRIED
    while k < len(copies):
        cell, end = copies[k], k + 1
        if not parses(cell.source):
            for stop in range(k + 2, min(len(copies), k + 8) + 1):
                whole = "\n".join(part.source for part in copies[k:stop])
                left -= len(whole)
                if left < 0:
                    break
                if parses(whole):
                    cell, end = cell._replace(source=whole), stop
                    break
        parts.append((cell, in_place[k]))
        k = end
    return parts
