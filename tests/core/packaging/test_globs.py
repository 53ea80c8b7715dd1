"""Names and globs of projects: every spelling of a name fits, and what is not meant does not."""

from __future__ import annotations

import re
from time import process_time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.names import GlobTable, NameSet, matches, project_glob, project_name

modest = settings(max_examples=30, deadline=None, database=None)
NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,12}[A-Za-z0-9])?", fullmatch=True)


class GlobTests(SynchronousTestCase):
    """Which names fit."""

    def test_table(self) -> None:
        """Names, stars, question marks and sets, in any spelling."""
        for glob, fitting, others in (
            ("acme", ("acme", "ACME"), ("acme-x", "xacme", "acm")),
            ("acme-*", ("acme-x", "Acme__X.y", "acme.x"), ("acme", "acmex")),
            ("Acme_*", ("acme-x",), ("acme",)),
            ("acme.*", ("acme-x", "acme.x"), ("acmex", "acme")),
            ("acme*", ("acme", "acme-x", "acmex"), ("ac-me",)),
            ("a--b", ("a-b", "a.b", "a-._b"), ("ab",)),
            ("ac?e", ("acme", "ac.e"), ("ace", "acmme")),
            ("[ab]*", ("a", "b-c"), ("c",)),
            ("[!a]*", ("b", "b-c"), ("a", "a-b")),
            ("x[A-C]", ("xa", "xc"), ("xd", "x")),
            ("acme[_.]x", ("acme-x", "acme.x"), ("acmex", "acme-y")),
            ("acme[-_]*", ("acme-x", "acme_"[:-1] + ".y"), ("acme", "acmex")),
            ("acme[!_]*", ("acmex",), ("acme-x", "acme.x", "acme")),
            ("*", ("a", "a-b"), ()),
            ("*-internal", ("a-internal", "a_b.internal"), ("internal", "a-internals")),
            ("a[", (), ("a",)),
        ):
            for name in fitting:
                self.assertTrue(matches(project_name(name), [glob]), (glob, name))
            for name in others:
                self.assertFalse(matches(project_name(name), [glob]), (glob, name))

    @modest
    @given(NAMES)
    def test_itself(self, name: str) -> None:
        """A name fits itself, its beginning with a star, and its end behind one, however all of
        them are spelled.
        """
        other = re.sub(r"[-_.]+", "_.", name).swapcase()
        for glob in (name, other, f"{name}*", f"*{other}", "*".join(name[:1] + name[1:2]) + "*"):
            self.assertTrue(matches(project_name(name), [glob]), glob)

    @modest
    @given(st.text(alphabet="ab-_.*?[]!AZ09", min_size=1, max_size=40), NAMES)
    def test_anything(self, glob: str, name: str) -> None:
        """Whatever the configuration allows to be written is a glob, and takes no time."""
        begun = process_time()
        matches(project_name(name), [glob])
        self.assertLess(process_time() - begun, 1)

    def test_stars(self) -> None:
        """Many stars take no exponential time."""
        begun = process_time()
        self.assertFalse(matches(project_name("a" * 200), ["a*" * 60 + "b"]))
        self.assertLess(process_time() - begun, 2)


PATTERNS = ("acme-*", "acme-data-*", "acme-d?ta-*", "*-data", "*data*", "a[ab]c*", "acme-*-x", "x*")
SOME_NAMES = (
    "acme-data-x",
    "acme-x",
    "acme-data",
    "my-data",
    "aac",
    "abc-data-x",
    "x",
    "y",
    "acme",
)


class GlobTableTests(SynchronousTestCase):
    """`GlobTable`, `NameSet`, `project_glob`."""

    @modest
    @given(st.sets(st.sampled_from(PATTERNS)), st.lists(st.sampled_from(SOME_NAMES), max_size=20))
    def test_most_specific(self, patterns: set[str], names: list[str]) -> None:
        """The value is that of the matching glob with the most literal characters, whatever was
        asked before.
        """
        table = GlobTable({project_glob(pattern): pattern for pattern in patterns})
        for name in map(project_name, names):
            fitting = [pattern for pattern in sorted(patterns) if matches(name, [pattern])]
            best = max(fitting, key=lambda glob: (literal(glob), glob), default=None)
            self.assertEqual(table.of(name), best, name)
            self.assertEqual(table.map(lambda value: value.upper()).of(name), best and best.upper())

    def test_normal(self) -> None:
        """A glob is normalised like a name; one that matches every project, or none, is refused."""
        for text, normal in (
            ("Acme_Data.*", "acme-data-*"),
            ("acme-**", "acme-*"),
            ("a[B-D]--x?", "a[b-d]-x?"),
        ):
            self.assertEqual(project_glob(text), normal)
        for text in ("*", "?*", "[ab]*", "-*", "acme", "", "a b*", "a/*", "a[b*", "x" * 200 + "*"):
            self.assertRaises(ValueError, project_glob, text)

    def test_set(self) -> None:
        """A set of names and globs has what either of them says."""
        found = NameSet.of([project_name("spam"), project_glob("acme-*")])
        self.assertIn("spam", found)
        self.assertIn("acme-x", found)
        self.assertNotIn("eggs", found)
        self.assertNotIn("x", NameSet())
        self.assertEqual(found, NameSet.of([project_glob("ACME_*"), project_name("spam")]))
        self.assertNotEqual(found, NameSet.of([project_name("spam")]))

    def test_cost(self) -> None:
        """Of ten thousand globs few are compared with a name, and none if the name is known."""
        table = GlobTable({project_glob(f"team{number:05}-*"): number for number in range(10_000)})
        names = [project_name(f"team{number:05}-x") for number in range(0, 10_000, 10)]
        for most in (50e-6, 5e-6):
            began = process_time()
            self.assertEqual([table.of(name) for name in names], list(range(0, 10_000, 10)))
            self.assertLess((process_time() - began) / len(names), most)


def literal(glob: str) -> int:
    """How many characters of the glob stand for themselves."""
    return len(re.sub(r"\[.*?\]|[*?]", "", glob))
