"""Names and globs of projects: every spelling of a name fits, and what is not meant does not."""

from __future__ import annotations

import re
from time import process_time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.globs import first_match, matches
from pypid.core.packaging.names import project_name

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

    def test_first(self) -> None:
        """The first glob that fits is the one that counts."""
        self.assertEqual(first_match(project_name("a-b"), ["x", "a.*", "*"]), "a.*")
        self.assertIsNone(first_match(project_name("a-b"), ["x", "b*"]))
        self.assertFalse(matches(project_name("a-b"), []))

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

    def test_names(self) -> None:
        """Thousands of plain names take no longer to look at than a small request: nothing is
        compiled for them.
        """
        begun = process_time()
        self.assertFalse(
            matches(
                project_name("spam"), [f"project-{number}-{'x' * 180}" for number in range(5000)]
            )
        )
        self.assertLess(process_time() - begun, 0.5)
