"""docs/reference/conformance.rst is true: a row for every point, and tests that exist and name it."""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import chain
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

TESTS = Path(__file__).parent
TABLE = TESTS.parent / "docs" / "reference" / "conformance.rst"

POINTS = tuple(
    chain(
        range(1, 37),
        range(40, 51),
        range(60, 81),
        range(90, 96),
        range(100, 104),
        range(110, 113),
        range(114, 119),
        range(120, 124),
    ),
)
"""The numbers of the checklist; the gaps leave room for more of a kind."""

FINISHED = frozenset(POINTS)
"""The points that this version claims. One that goes back to ``not yet`` is a regression."""

NOT_YET = "not yet"


@cache
def rows() -> dict[int, tuple[str, tuple[str, ...]]]:
    """By point: what is asked, and the tests, or ``not yet``."""
    found: dict[int, tuple[str, tuple[str, ...]]] = {}
    for cells in re.findall(
        r"^   \* - C(\d+)\n     - (.+)\n((?:     - .+\n)(?:       .+\n)*)",
        TABLE.read_text(),
        re.MULTILINE,
    ):
        number, asked, tests = int(cells[0]), cells[1], cells[2]
        assert number not in found, f"C{number} has two rows"
        names = tuple(re.findall(r"``([^`]+)``", tests))
        found[number] = asked, names or (tests.strip("- \n"),)
    return found


@cache
def tests_in(path: Path) -> dict[str, str | None]:
    """The docstrings of all tests in a file, by ``Class.test``; of its source, since live tests
    need not be importable here.

    Live tests that exist once for each client are marked by a decorator in place of their name.
    """
    found: dict[str, str | None] = {}
    for case in ast.parse(path.read_text()).body:
        for method in case.body if isinstance(case, ast.ClassDef) else ():
            if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if method.name.startswith("test") or method.decorator_list:
                found[f"{case.name}.{method.name}"] = ast.get_docstring(method)
    return found


def docstring_of(name: str) -> str | None:
    """The docstring of the test ``package.module.Class.test``; None where there is no such test."""
    module, case, test = name.rsplit(".", 2)
    path = TESTS.joinpath(*module.split(".")).with_suffix(".py")
    return tests_in(path).get(f"{case}.{test}") if path.is_file() else None


class TableTests(SynchronousTestCase):
    """The table of points."""

    def test_every_point(self) -> None:
        """Every point has one row, in order, and there is no row of a point that does not exist."""
        self.assertEqual(tuple(rows()), POINTS)

    def test_every_test(self) -> None:
        """Every test that is named exists, and its docstring names the point."""
        for point, (_, tests) in rows().items():
            for name in tests:
                if name != NOT_YET:
                    docstring = docstring_of(name)
                    self.assertIsNotNone(docstring, f"C{point}: there is no test {name}")
                    self.assertRegex(
                        docstring or "", rf"\bC{point}\b", f"{name} does not name C{point}"
                    )

    def test_finished(self) -> None:
        """What is finished has tests, and what has none is not finished."""
        tested = {point for point, (_, tests) in rows().items() if tests != (NOT_YET,)}
        self.assertEqual(tested, FINISHED)
