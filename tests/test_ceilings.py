"""The measures of the source, on small packages."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests import ceilings


class CeilingTests(SynchronousTestCase):
    """What each measure counts, and what is said of the counts."""

    def found(self, measure: str, **sources: str) -> list[str]:
        """The places that the measure finds in a package of these modules."""
        package = Path(self.mktemp()) / "p"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        for name, text in sources.items():
            path = package / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return list(ceilings.MEASURES[measure](ceilings.read_modules(package)))

    def test_assignments_to_other_objects_count(self) -> None:
        """Also in tuples and augmented; not those to ``self`` and ``cls``."""
        text = (
            "def f(self, other):\n    self.a = 1\n    other.b = 2\n    other.c, x = 3, 4\n    "
            "other.d += 1\n"
        )
        self.assertEqual(
            self.found("foreign_assignments", a=text),
            ["p/a.py:3: other.b", "p/a.py:4: other.c", "p/a.py:5: other.d"],
        )

    def test_imports_and_docstrings_are_no_statements(self) -> None:
        """Documentation and small modules must not cost more than dense ones."""
        text = '"""A module."""\nimport os\nfrom os import path\ndef f():\n    """It."""\n    return 1\n'
        self.assertEqual(self.found("statements", a=text), ["p/a.py:4: ", "p/a.py:6: "])
        self.assertEqual(self.found("modules", a=text), ["p/__init__.py", "p/a.py"])

    def test_long_modules_and_functions_are_found(self) -> None:
        """From 501 statements and 41 lines on; a docstring has as many lines as it needs."""
        body = "".join(f"    x = {number}\n" for number in range(39))
        self.assertEqual(self.found("long_functions", a=f"def f():\n{body}"), [])
        documented = f'def f():\n    """One.\n\n    Two.\n    """\n    y = 1\n    z = 1\n{body}'
        self.assertEqual(self.found("long_functions", a=documented), ["p/a.py:1: f: 41 lines"])
        self.assertEqual(
            self.found("long_modules", a="x = 1\n" * 501), ["p/a.py:1: 501 statements"]
        )
        self.assertEqual(self.found("long_modules", a="x = 1\n" * 500), [])

    def test_counts_above_the_ceiling_are_complaints(self) -> None:
        """And so are counts below, until they are written down; the large ones may sink freely."""
        allowed = {"circles": 5, "statements": 40_000}
        self.assertEqual(
            ceilings.complaints({"circles": 5, "statements": 39_000}, allowed, allowed), []
        )
        self.assertIn("1 more than", ceilings.complaints({"circles": 6}, allowed, {})[0])
        self.assertIn("--write", ceilings.complaints({"circles": 4}, allowed, {})[0])
        self.assertEqual(len(ceilings.complaints({"long_modules": 1}, allowed, {})), 1)

    def test_ceilings_never_rise_above_their_history_and_the_budget(self) -> None:
        """A ceiling that was lowered once stays lowered, unless the final budget has room for it."""
        lowest = {"circles": 1, "statements": 40_000, "modules": 100}
        raised = {"circles": 2, "statements": 40_001, "modules": 280}
        self.assertEqual(
            ceilings.complaints(raised, raised, lowest),
            [
                "circles: the ceiling was raised from 1 to 2",
                "statements: the ceiling was raised from 40000 to 40001",
            ],
        )
        self.assertEqual(
            ceilings.lowered(raised, lowest), {"circles": 1, "statements": 40_000, "modules": 280}
        )
