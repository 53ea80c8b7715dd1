"""The inheritance of devpi-server's indexes, and what pypid shows otherwise."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.devpi_differences import Differences, searched, searched_here, whitelist_of
from pypid.core.devpi_export import DevpiFile, DevpiIndex

PYPI = DevpiIndex(name="root/pypi", kind="mirror", mirror_url="https://pypi.org/simple/")
OTHER = DevpiIndex(name="ops/torch", kind="mirror", mirror_url="https://dl.example/whl/")
NAMES = ("a/a", "b/b", "c/c", "d/d")


def stage(name: str, *bases: str, **more: Any) -> DevpiIndex:
    """An index of the usual type."""
    return DevpiIndex(name=name, kind="stage", bases=bases, **more)


def by_name(*indexes: DevpiIndex) -> dict[str, DevpiIndex]:
    """The indexes by name."""
    return {index.name: index for index in indexes}


def have(project: str, version: str = "1.0", sha256: str = "1") -> tuple[DevpiFile, ...]:
    """An sdist of the project."""
    return (DevpiFile(path=(f"{project}-{version}.tar.gz",), project=project, sha256=sha256),)


def differences(*indexes: DevpiIndex) -> list[str]:
    """The remarks, each in one line."""
    return [f"{each.subject}: {each.what}" for each in Differences(indexes).remarks()]


class OrderTests(SynchronousTestCase):
    """The indexes that a page is made of."""

    DIAMOND = by_name(stage("a/a", "b/b", "c/c"), stage("b/b", "d/d"), stage("c/c"), stage("d/d"))

    def test_bases_before_their_bases(self) -> None:
        """devpi-server searches level by level, pypid base by base."""
        first = self.DIAMOND["a/a"]
        there = [each.name for each in searched(first, self.DIAMOND)]
        here = [each.name for each in searched_here(first, self.DIAMOND)]
        self.assertEqual(there, ["a/a", "b/b", "c/c", "d/d"])
        self.assertEqual(here, ["a/a", "b/b", "d/d", "c/c"])

    @given(st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES)), min_size=1))
    def test_same_indexes_in_both_orders(self, bases: dict[str, list[str]]) -> None:
        """Each index once, whatever the bases, circles included."""
        indexes = by_name(*(stage(name, *those) for name, those in bases.items()))
        for index in indexes.values():
            orders = [order(index, indexes) for order in (searched, searched_here)]
            there, here = ([each.name for each in order] for order in orders)
            self.assertEqual(sorted(there), sorted(here))
            self.assertEqual(len(there), len(set(there)))
            self.assertEqual((there[0], here[0]), (index.name, index.name))


class WhitelistTests(SynchronousTestCase):
    """The projects whose files of mirrors are shown, too."""

    def test_inheritance(self) -> None:
        """Whitelists of bases count, unless the index says "intersection"."""
        base = stage("b/b", "root/pypi", mirror_whitelist=("six",))
        for inherits, expected in ((True, {"six", "a-b"}), (False, {"a-b"})):
            index = stage("a/a", "b/b", mirror_whitelist=("A_b",), inherits_whitelist=inherits)
            self.assertEqual(whitelist_of(index, by_name(index, base, PYPI)), expected)

    def test_without_a_mirror(self) -> None:
        """There is nothing to mix, and the names stay private."""
        index = stage("a/a", mirror_whitelist=("*",))
        self.assertEqual(whitelist_of(index, by_name(index, PYPI)), frozenset())


class DifferenceTests(SynchronousTestCase):
    """The pages that differ."""

    def test_no_difference(self) -> None:
        """The same file in several indexes, a whitelist that all have, one mirror."""
        base = stage("b/b", "root/pypi", files=have("six"), mirror_whitelist=("six",))
        index = stage("a/a", "b/b", files=have("six"), mirror_whitelist=("*",))
        self.assertEqual(differences(PYPI, base, index), [])

    def test_whitelisted_name_that_is_private(self) -> None:
        """Another index has the project without the whitelist."""
        base = stage("b/b", "root/pypi", files=have("Six"))
        for names in (("six",), ("*",)):
            index = stage("a/a", "b/b", mirror_whitelist=names)
            (found,) = differences(PYPI, base, index)
            self.assertTrue(found.startswith("a/a: mirror_whitelist"), found)
            self.assertTrue(found.endswith(": six"), found)

    def test_several_mirrors(self) -> None:
        """Also those of bases."""
        index, base = stage("a/a", "b/b", "root/pypi"), stage("b/b", "ops/torch")
        (found,) = differences(PYPI, OTHER, index, base)
        self.assertIn("root/pypi, ops/torch", found)

    def test_other_content_of_the_same_name(self) -> None:
        """Only where the order decides."""
        low, next_base = stage("d/d", files=have("x")), stage("c/c", files=have("x", sha256="2"))
        index = stage("a/a", "b/b", "c/c")
        self.assertEqual(
            differences(index, stage("b/b", "d/d"), next_base, low),
            ["a/a: several bases have other files of the same name: x-1.0.tar.gz"],
        )
        self.assertEqual(differences(index, stage("b/b"), next_base, low), [])
