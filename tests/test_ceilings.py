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
        return list(ceilings.MEASURES[measure](ceilings.modules(package)))

    def test_class_names_count_once_for_each_repetition(self) -> None:
        """Three public classes of one name are two too many; private ones may share a name."""
        text = "class Kind: pass\nclass _Mine: pass\n"
        self.assertEqual(
            self.found("shared_class_names", a=text, b=text, c=text),
            ["p/b.py:1: Kind", "p/c.py:1: Kind"],
        )

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

    def test_imports_in_functions_and_for_annotations_count(self) -> None:
        """A circle is found wherever its imports stand, and so is the only importer."""
        circle = {
            "a": "def f():\n    from p import b\n",
            "b": "if TYPE_CHECKING:\n    from p.a import f\n",
            "c": "import p.b\n",
        }
        self.assertEqual(
            self.found("circles", **circle),
            ["p.a: in a circle of imports", "p.b: in a circle of imports"],
        )
        self.assertIn("p.a: imported by p.b only", self.found("single_importers", **circle))
        self.assertNotIn("p.b: imported by p.a only", self.found("single_importers", **circle))

    def test_packages_without_code_are_no_single_importers(self) -> None:
        """`from p.q import r` imports the package as well; only the module counts."""
        source = {"a": "from p.q import r\n", "q/__init__": '"""A package."""\n', "q/r": "x = 1\n"}
        self.assertEqual(self.found("single_importers", **source), ["p.q.r: imported by p.a only"])

    def test_docstrings_that_say_nothing_are_found(self) -> None:
        """Short ones, and those that refer to another; not those of private functions."""
        texts = (
            '"""Read it."""',
            '"""The same, of all projects."""',
            '"""As `other` does, later."""',
            '"""Return the files."""',
        )
        text = (
            "".join(f"def f{number}():\n    {said}\n" for number, said in enumerate(texts))
            + 'def _g():\n    """It."""\n'
        )
        self.assertEqual(
            [place[:9] for place in self.found("empty_docstrings", a=text)],
            ["p/a.py:1:", "p/a.py:3:", "p/a.py:5:"],
        )

    def test_vague_words_count_in_prose_only(self) -> None:
        """In comments, docstrings and messages; not as a name or a keyword of the configuration."""
        text = (
            'nobody = "nobody"  # somebody\n"""Whoever asks."""\nraise ValueError("nobody may")\n'
        )
        self.assertEqual(
            sorted(self.found("vague_words", a=text)),
            ["p/a.py:1: somebody", "p/a.py:2: Whoever", "p/a.py:3: nobody"],
        )

    def test_former_words_are_found_where_they_are_defined(self) -> None:
        """Modules, classes, arguments and variables; with underscores around them, too, and not
        inside of longer names.
        """
        text = "class Giver: pass\ndef f(theirs, theirs_too):\n    _said_ = theirs\n"
        self.assertEqual(
            self.found("former_words", touches=text),
            [
                "p/touches.py:1: module touches",
                "p/touches.py:1: Giver",
                "p/touches.py:2: theirs",
                "p/touches.py:3: _said_",
            ],
        )

    def test_long_modules_and_functions_are_found(self) -> None:
        """From 251 and 26 statements on."""
        body = "".join(f"    x = {number}\n" for number in range(26))
        self.assertEqual(
            self.found("long_functions", a=f"def f():\n{body}"), ["p/a.py:1: f: 26 statements"]
        )
        self.assertEqual(
            self.found("long_modules", a="x = 1\n" * 251), ["p/a.py:1: 251 statements"]
        )
        self.assertEqual(self.found("long_modules", a="x = 1\n" * 250), [])

    def test_ceilings_may_only_go_down(self) -> None:
        """More than allowed is a complaint, and so is less, until it is written down."""
        allowed = {"wide_lines": 5, "statements": 100}
        self.assertEqual(ceilings.complaints({"wide_lines": 5, "statements": 90}, allowed), [])
        self.assertIn("1 more than allowed", ceilings.complaints({"wide_lines": 6}, allowed)[0])
        self.assertIn("--write", ceilings.complaints({"wide_lines": 4}, allowed)[0])
        self.assertEqual(len(ceilings.complaints({"circles": 1}, allowed)), 1)
