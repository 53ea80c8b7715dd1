"""What pypid makes of a devpi export: names, settings, order, problems and remarks."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.devpi import (
    CLOSED,
    Choices,
    DevpiExport,
    DevpiFile,
    DevpiIndex,
    DevpiPlan,
    DevpiPlanner,
    DevpiUser,
    compare_existing,
    differing_keys,
    is_closed,
    whitelist_of,
)
from pypid.core.indexes import check_indexes, settings_of_values

PYPI = DevpiIndex(name="root/pypi", kind="mirror", mirror_url="https://pypi.org/simple/")


def stage(name: str, *bases: str, **more: Any) -> DevpiIndex:
    """An index of the usual type."""
    return DevpiIndex(name=name, kind="stage", bases=bases, **more)


def plan(*indexes: DevpiIndex, users: tuple[DevpiUser, ...] = (), **choices: Any) -> DevpiPlan:
    """The plan for these indexes and users; `upstreams` also names all `[upstream:NAME]`."""
    choices["named_upstreams"] = {*choices.get("upstreams", {}).values()} - {"public"}
    return DevpiPlanner(DevpiExport(users, indexes), Choices(**choices)).plan()


def values(found: DevpiPlan) -> dict[str, dict[str, str]]:
    """The settings by name of the index."""
    return {index.name: dict(index.values) for index in found.indexes}


def remarks(found: DevpiPlan) -> list[str]:
    """What is left, in one line each."""
    return [f"{each.subject}: {each.what}" for each in found.left]


class IndexTests(SynchronousTestCase):
    """The named indexes."""

    def test_settings(self) -> None:
        """``acl_upload`` becomes `write`, the flag and the bases stay."""
        acl = (":developers", ":AUTHENTICATED:", "alice")
        found = plan(PYPI, stage("alice/dev", "root/pypi", acl_upload=acl, volatile=False))
        self.assertEqual((found.problems, found.left), ((), ()))
        self.assertEqual(
            values(found),
            {
                "root-pypi": {"bases": "public", "write": "nobody"},
                "alice-dev": {
                    "bases": "root-pypi",
                    "write": "group:developers authenticated alice",
                    "delete": "nobody",
                    "owners": "none",
                    "volatile": "no",
                },
            },
        )

    def test_inheritance(self) -> None:
        """Files of bases are merged; whitelists are names that are mixed with upstream's."""
        found = plan(
            PYPI,
            stage("a/low", "root/pypi", mirror_whitelist=("Six",)),
            stage("a/high", "a/low", mirror_whitelist=("*",)),
        )
        low, high = (values(found)[name] for name in ("a-low", "a-high"))
        self.assertEqual((low.get("merge"), low["allow_mixed"]), (None, "six"))
        self.assertEqual((high["merge"], high["allow_mixed"]), ("*", "* six"))

    def test_bases_come_before_the_indexes_that_name_them(self) -> None:
        """In whatever order the document has them; mirrors are searched last, as devpi does."""
        indexes = (
            stage("a/a", "root/pypi", "z/z", "m/m"),
            stage("m/m", "z/z"),
            PYPI,
            stage("z/z", "root/pypi"),
        )
        found = plan(*indexes)
        self.assertEqual(
            [index.name for index in found.indexes], ["root-pypi", "z-z", "m-m", "a-a"]
        )
        self.assertEqual(values(found)["a-a"]["bases"], "z-z m-m root-pypi")

    def test_circle_and_missing_base(self) -> None:
        """The index is created without that base, and a remark says so."""
        found = plan(stage("a/a", "b/b", "gone/x"), stage("b/b", "a/a"), stage("c/c", "c/c"))
        self.assertEqual(
            {name: each["bases"] for name, each in values(found).items()},
            {"b-b": "none", "a-a": "b-b", "c-c": "none"},
        )
        self.assertEqual(
            remarks(found),
            [
                "b/b: its base a/a leads back to it",
                "a/a: its base gone/x is not imported",
                "c/c: its base c/c leads back to it",
            ],
        )

    @given(
        st.dictionaries(
            st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=4), min_size=1
        )
    )
    def test_any_inheritance_becomes_one_that_pypid_accepts(
        self, inheritance: dict[str, list[str]]
    ) -> None:
        """No circle, no unknown base, and each index once."""
        indexes = [
            stage(f"u/{name}", *(f"u/{base}" for base in bases))
            for name, bases in inheritance.items()
        ]
        found = plan(*indexes)
        settings = [settings_of_values(each.name, each.values) for each in found.indexes]
        self.assertEqual(list(check_indexes(settings)), [])
        self.assertEqual(
            sorted(each.origin for each in found.indexes), sorted(each.name for each in indexes)
        )


class NameTests(SynchronousTestCase):
    """The names, and what an administrator has to decide."""

    def test_collision(self) -> None:
        """Two origins with one name are a problem, whose advice solves it."""
        indexes = stage("a-b/c"), stage("a/b-c"), stage("x/y", "a/b-c")
        (problem,) = plan(*indexes).problems
        self.assertEqual(problem.subject, "a/b-c")
        self.assertIn("a-b/c and a/b-c", problem.what)
        option = problem.advice.partition("--name ")[2]
        origin, _, name = option.partition("=")
        found = plan(*indexes, names={origin: name})
        self.assertEqual(found.problems, ())
        self.assertEqual(values(found)["x-y"]["bases"], name)
        self.assertEqual(next(each.origin for each in found.indexes if each.name == name), "a/b-c")

    def test_chosen_name_that_is_reserved(self) -> None:
        """`simple` is a route, `default` the index at the root."""
        for name in ("simple", "default", "public", "A B"):
            self.assertEqual(len(plan(stage("u/x"), names={"u/x": name}).problems), 1, name)

    def test_name_of_an_upstream(self) -> None:
        """An index and an upstream cannot have the same name; the proposal avoids those names."""
        upstreams = {"https://dl.example/": "u-x", "https://other.example/": "devpi-u-x"}
        (problem,) = plan(stage("u/x"), upstreams=upstreams).problems
        self.assertEqual(problem.what, "there is an upstream 'u-x' already")
        name = problem.advice.rpartition("=")[2]
        self.assertEqual(name, "u-x-2")
        found = plan(stage("u/x"), upstreams=upstreams, names={"u/x": name})
        self.assertEqual(found.problems, ())


class MirrorTests(SynchronousTestCase):
    """Mirror indexes."""

    OTHER = DevpiIndex(name="ops/torch", kind="mirror", mirror_url="https://dl.example/whl/simple")

    def test_upstream_of_the_same_url(self) -> None:
        """It is found whatever the end of the URL, and whoever the user in it."""
        upstreams = {"https://ci:secret@DL.example/whl/": "torch"}
        found = plan(self.OTHER, upstreams=upstreams)
        self.assertEqual(found.problems, ())
        self.assertEqual(values(found)["ops-torch"]["upstreams"], "torch")

    def test_unknown_mirror(self) -> None:
        """A problem that names the lines of the configuration, or the choice of another upstream."""
        (problem,) = plan(self.OTHER).problems
        self.assertIn("[upstream:ops-torch-upstream]", problem.advice)
        self.assertIn("https://dl.example/whl/simple", problem.advice)
        self.assertIn("only = <names of its projects>", problem.advice)
        found = plan(self.OTHER, mirrors={"ops/torch": "public"})
        self.assertEqual((found.problems, values(found)["ops-torch"]["bases"]), ((), "public"))

    def test_files_of_a_mirror(self) -> None:
        """They are counted, and not imported."""
        file = DevpiFile(path=("root", "pypi", "x-1.tar.gz"), project="x")
        found = plan(
            DevpiIndex(name="root/pypi", kind="mirror", mirror_url=PYPI.mirror_url, files=(file,))
        )
        self.assertEqual(found.files, 0)
        self.assertEqual(remarks(found), ["root/pypi: 1 cached file"])


class WhitelistTests(SynchronousTestCase):
    """The projects whose files of mirrors are shown, too."""

    def test_inheritance(self) -> None:
        """Whitelists of bases count, unless the index says "intersection"."""
        base = stage("b/b", "root/pypi", mirror_whitelist=("six",))
        for inherits, expected in ((True, {"six", "a-b"}), (False, {"a-b"})):
            index = stage("a/a", "b/b", mirror_whitelist=("A_b",), inherits_whitelist=inherits)
            indexes = {each.name: each for each in (index, base, PYPI)}
            self.assertEqual(whitelist_of(index, indexes), expected)

    def test_without_a_mirror(self) -> None:
        """There is nothing to mix, and the names stay private."""
        index = stage("a/a", mirror_whitelist=("*",))
        self.assertEqual(whitelist_of(index, {index.name: index, PYPI.name: PYPI}), frozenset())


class ExistingIndexTests(SynchronousTestCase):
    """Indexes of an earlier import."""

    def test_differing_keys(self) -> None:
        """Defaults, and users in another order, are no difference; bases in another order are."""
        wanted = {"bases": "x y", "write": "ada bob", "volatile": "no"}
        found = {"bases": "x y", "write": "bob ada", "cooldown": "3d"}
        self.assertEqual(differing_keys(wanted, found), [])
        changed = {"bases": "y x", "write": "ada", "volatile": "yes"}
        self.assertEqual(differing_keys(wanted, changed), ["bases", "write", "volatile"])

    def test_closed(self) -> None:
        """An index is closed only with all these settings."""
        self.assertTrue(is_closed({"volatile": "yes", **CLOSED}))
        self.assertFalse(is_closed({**CLOSED, "bases": "default"}))
        self.assertFalse(is_closed({"bases": "none"}))

    def test_existing_indexes(self) -> None:
        """An index of the name with other settings is a problem, unless it was chosen by name: then
        they are reported.
        """
        found = plan(stage("a/b"), stage("c/d", acl_upload=("ada",)), stage("e/f"), stage("g/h"))
        problems, left = compare_existing(
            found,
            {
                "a-b": {"bases": "none"},
                "c-d": {"bases": "none", "write": "bob", "delete": "ada"},
                "e-f": {**CLOSED},
                "g-h": found.indexes[3].values,
            },
            {"c/d": "c-d"},
        )
        self.assertEqual([each.subject for each in problems], ["a/b"])
        self.assertIn("--name a/b=a-b", problems[0].advice)
        self.assertEqual([each.subject for each in left], ["c/d"])
        self.assertIn("volatile", left[0].what)
        self.assertIn("write", left[0].what)
