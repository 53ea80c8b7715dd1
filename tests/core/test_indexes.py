"""The settings of named indexes, their names, and what is wrong with all of them together."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.choices import Owners
from pypid.core.configuration.parse import Config
from pypid.core.cooldown import Cooldown
from pypid.core.errors import BadConfig, Unreadable
from pypid.core.indexes import (
    BUILT_IN,
    PUBLIC,
    ROUTES,
    IndexDocument,
    IndexSettings,
    check_indexes,
    circle_of,
    document_of,
    index_name,
    settings_of_document,
    settings_of_values,
    values_of,
)
from pypid.core.permissions import Principals
from tests.support.configuration import parse
from tests.web.routes import ALL_ROUTES

NAMES = ("a", "b", "c", "d", "e")


def indexes(**bases: str) -> dict[str, IndexSettings]:
    """Return indexes by name, each with its bases as the configuration spells them."""
    return {name: settings_of_values(name, {"bases": text}) for name, text in bases.items()}


def problems(*found: IndexSettings, upstreams: tuple[str, ...] = ()) -> list[str]:
    """Return the problems of the indexes as text."""
    return [str(problem) for problem in check_indexes(found, upstreams)]


class Names(SynchronousTestCase):
    """Which names an index may have."""

    def test_no_index_has_the_first_segment_of_a_route(self) -> None:
        """Each first segment of the table of routes is refused."""
        segments = {route.path.lstrip("/").split("/")[0] for route in ALL_ROUTES}
        segments -= {"", "<project>"}
        self.assertEqual(segments - ROUTES, set())
        for segment in (*segments, "docs", "osv", "namespaces", "namespace", "scim"):
            with self.assertRaises(ValueError):
                index_name(segment)

    def test_reserved_and_malformed_names_are_refused(self) -> None:
        """A name is a lower-case word of at most 40 characters with no meaning of its own."""
        for text in (
            "default",
            "public",
            "none",
            "",
            "A",
            "-a",
            "a_b",
            "a.b",
            "a/b",
            "é",
            "a" * 41,
        ):
            with self.assertRaises(ValueError, msg=text):
                index_name(text)
            with self.assertRaises(ValueError, msg=text):
                IndexSettings(name=text)
        for text in ("a", "0", "team-a", "cu128", "a" * 40):
            self.assertEqual(index_name(text), text)


class Values(SynchronousTestCase):
    """The settings as the configuration, the API and the documents spell them."""

    def test_a_document_gives_the_same_settings_back(self) -> None:
        """All values survive."""
        values = {
            "bases": "staging public",
            "read": "alice group:data",
            "write": "group:data",
            "delete": "nobody",
            "owners": "uploader",
            "volatile": "yes",
            "allow": "acme-*",
            "deny": "acme-secret",
            "block": "requests>=2,<2.32 evil",
            "allow_mixed": "acme-both",
            "cooldown": "3d numpy=0",
            "upstreams": "cu128 public",
            "expires": "2026-12-31T12:30:00Z",
        }
        created = datetime(2026, 11, 23, tzinfo=UTC)
        made = settings_of_values("team", values, created=created, created_by="alice")
        self.assertEqual(values_of(made), values)
        self.assertEqual(settings_of_document(document_of(made)), made)
        self.assertEqual(made.bases, ("staging", "public"))
        self.assertEqual(made.read, Principals.parse("alice group:data"))
        self.assertIs(made.owners, Owners.UPLOADER)

    def test_bad_values_are_refused_with_the_key(self) -> None:
        """The message names the key and what is allowed."""
        for values, text in (
            ({"volatil": "yes"}, "did you mean 'volatile'"),
            ({"nonsense-key": "1"}, "known: bases read"),
            ({"volatile": "jes"}, "volatile: invalid value 'jes'"),
            ({"bases": "a a"}, "twice"),
            ({"bases": "none a"}, "'none' cannot be combined with other words"),
            ({"bases": "../x"}, "not the name of an index"),
            ({"read": "Everyone"}, "read: invalid value"),
            ({"cooldown": "soon"}, "cooldown: invalid value"),
            ({"expires": "soon"}, "expires: invalid value"),
            ({"owners": "me"}, "owners: invalid value"),
            ({"require": "acme-*"}, "use [trust] require"),
            ({"block": "requests>>2"}, "block: invalid value"),
            ({"block": f"sha256:{'a' * 64}"}, "cannot be blocked in one index"),
        ):
            with self.assertRaises(ValueError) as caught:
                settings_of_values("team", values)
            self.assertIn(text, str(caught.exception))

    def test_a_document_with_an_unknown_key_is_unreadable(self) -> None:
        """A later version may restrict the index by it, so the index is not served without it."""
        for document in (
            IndexDocument(name="team", values={"wall": "yes"}),
            IndexDocument(name="simple"),
            IndexDocument(name="team", values={"read": ":"}),
        ):
            with self.assertRaises(Unreadable):
                settings_of_document(document)

    def test_an_index_expires_at_its_time(self) -> None:
        """It has expired at the time itself, and never without one."""
        end = datetime(2026, 12, 1, tzinfo=UTC)
        made = IndexSettings(name="team", expires=end, cooldown=Cooldown())
        self.assertTrue(made.has_expired(end))
        self.assertFalse(made.has_expired(end - timedelta(seconds=1)))
        self.assertFalse(IndexSettings(name="team").has_expired(end))


class Together(SynchronousTestCase):
    """Checks of all indexes together."""

    def test_unknown_bases_and_upstreams_are_named(self) -> None:
        """With the most similar known name."""
        team = settings_of_values("team", {"bases": "stagging", "upstreams": "cu12 public"})
        staging = settings_of_values("staging", {})
        self.assertEqual(
            problems(team, staging, upstreams=("cu128",)),
            [
                "bases of the index 'team': there is no index 'stagging'; did you mean 'staging'?",
                "upstreams of the index 'team': there is no upstream 'cu12'; did you mean 'cu128'?",
            ],
        )

    def test_an_index_and_an_upstream_share_one_set_of_names(self) -> None:
        """Otherwise `bases` and `upstreams` would mean two things by one word."""
        self.assertEqual(
            problems(settings_of_values("cu128", {}), upstreams=("cu128",)),
            ["the index 'cu128': [upstream:cu128] has this name, too: rename one of them"],
        )

    def test_circles_are_found_at_each_of_their_indexes(self) -> None:
        """Also one of a single index, and one behind other bases; not at those that only lead
        there.
        """
        found = indexes(a="b", b="default c", c="a", d="a", e="e")
        self.assertEqual(circle_of("a", found), ("a", "b", "c", "a"))
        self.assertEqual(circle_of("e", found), ("e", "e"))
        self.assertEqual(circle_of("d", found), ())
        self.assertEqual(
            [each.index for each in check_indexes(found.values())], ["a", "b", "c", "e"]
        )

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.dictionaries(
            st.sampled_from(NAMES),
            st.lists(st.sampled_from((*NAMES, *BUILT_IN)), unique=True, max_size=4),
        )
    )
    def test_without_a_circle_every_way_over_bases_ends(self, graph: dict[str, list[str]]) -> None:
        """Indexes without a problem can be walked to the end; any way that does not end is one of
        the problems.
        """
        found = {
            name: IndexSettings(name=name, bases=tuple(bases)) for name, bases in graph.items()
        }

        def depth(name: str, above: tuple[str, ...]) -> bool:
            """Return whether all ways from here end."""
            if name in above:
                return False
            bases = found[name].bases if name in found else ()
            return all(depth(base, (*above, name)) for base in bases)

        ends = all(depth(name, ()) for name in found)
        in_circles = [name for name in found if circle_of(name, found)]
        self.assertEqual(ends, not in_circles)
        for name in in_circles:
            circle = circle_of(name, found)
            self.assertEqual((circle[0], circle[-1]), (name, name))
            for here, base in pairwise(circle):
                self.assertIn(base, found[here].bases)

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.dictionaries(
            st.sampled_from(NAMES),
            st.tuples(
                st.lists(st.sampled_from((*NAMES, *BUILT_IN)), unique=True, max_size=4),
                st.none() | st.lists(st.sampled_from((*NAMES, PUBLIC)), unique=True, max_size=3),
            ),
        ),
        st.sets(st.sampled_from(NAMES)),
    )
    def test_each_problem_is_found_once(
        self, graph: dict[str, tuple[list[str], list[str] | None]], upstreams: set[str]
    ) -> None:
        """Names that an upstream has, unknown bases and unknown upstreams are found, each once, and
        nothing else but circles, and too many places for an index whose bases lead into one.
        """
        found = [
            IndexSettings(
                name=name, bases=tuple(bases), upstreams=None if ups is None else tuple(ups)
            )
            for name, (bases, ups) in graph.items()
        ]
        expected = [(each.name, "") for each in found if each.name in upstreams]
        for each in found:
            known = (*BUILT_IN, *graph)
            expected += [(each.name, "bases") for base in each.bases if base not in known]
            expected += [
                (each.name, "upstreams")
                for upstream in each.upstreams or ()
                if upstream not in (PUBLIC, *upstreams)
            ]
        reported = [
            (each.index, each.key)
            for each in check_indexes(found, upstreams)
            if not re.search("circle|more than 128 places", each.message)
        ]
        self.assertEqual(sorted(reported), sorted(expected))


class Configuration(SynchronousTestCase):
    """`[index:NAME]` sections and their variables."""

    def parse(self, text: str, **environ: str) -> Config:
        """Return the configuration of the text and the variables."""
        return parse(text, filename="pypid.ini", environ=environ)

    def problems_of(self, text: str) -> list[str]:
        """Return the problems of the text."""
        with self.assertRaises(BadConfig) as caught:
            self.parse(text)
        return [str(problem) for problem in caught.exception.problems]

    def test_sections_and_variables_make_indexes(self) -> None:
        """A variable changes an index of the file, or adds one; hyphens become underscores."""
        config = self.parse(
            "[index:team-a]\nread = group:a\nbases = staging default\n[index:staging]\n",
            PYPID_INDEX_TEAM_A_WRITE="alice",
            PYPID_INDEX_TEAM_B_BASES="team-a",
        )
        self.assertEqual(list(config.indexes), ["team-a", "staging", "team-b"])
        team = config.indexes["team-a"]
        self.assertEqual(team.bases, ("staging", "default"))
        self.assertEqual(team.write, Principals.parse("alice"))
        self.assertEqual(config.indexes["team-b"].bases, ("team-a",))
        self.assertTrue(all(each.configured for each in config.indexes.values()))

    def test_bad_sections_are_refused(self) -> None:
        """Names of routes, unknown bases, circles, upstreams of the same name, and keys that do not
        exist.
        """
        for text, message in (
            ("[index:simple]", "serves its own pages below /simple/"),
            ("[index:default]", "reserved"),
            ("[index:Team]", "not a valid index name"),
            ("[index:]", "not a valid index name"),
            ("[index:team]\nbases = tem", "there is no index 'tem'"),
            ("[index:a]\nbases = b\n[index:b]\nbases = a", "circle: a -> b -> a"),
            ("[index:a]\nbases = a", "circle: a -> a"),
            ("[index:a]\nupstreams = cu128", "there is no upstream 'cu128'"),
            ("[index:a]\nurl = x", "unknown key"),
            (
                "[index:a]\n[upstream:a]\nurl = https://x.example/simple\nonly = torch",
                "has this name, too",
            ),
        ):
            found = self.problems_of(text)
            self.assertTrue(any(message in each for each in found), (text, found))
