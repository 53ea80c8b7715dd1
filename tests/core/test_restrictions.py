"""Rules that hide files besides the configuration: every view obeys them, and the compact listing
gives the same as the plain one.
"""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown
from pypid.core.model import File, Listing, Presence, Project, as_stored, in_order
from pypid.core.packaging.names import project_name
from pypid.core.policy import Policy, UpstreamState, files_looked_at, view
from pypid.core.restrictions import Hold, HoldKind, ProjectRestrictions, RestrictionsInForce
from pypid.core.simple_api.listed_files import packed
from tests.core.test_policy import NOW, OUR_FILE, SPAM, their_file

DIGESTS = ["cd" * 32, "ef" * 32, "12" * 32]
VERSIONS = ["1.0", "1.1", "2.0", "3.0"]


@frozen
class VersionRule:
    """Hides files of these versions."""

    versions: frozenset[str]
    by_version: bool = True
    upstream_only: bool = False

    def hides(self, file: File) -> Hold | None:
        """Hold files of these versions."""
        return Hold(HoldKind.BLOCKED, "bad", "b1") if file.version in self.versions else None


ANY = VersionRule(frozenset(VERSIONS), by_version=False)
RULES = st.builds(
    VersionRule,
    st.frozensets(st.sampled_from(VERSIONS)),
    by_version=st.booleans(),
    upstream_only=st.booleans(),
)
FILES = st.lists(st.sampled_from(VERSIONS), unique=True).flatmap(
    lambda versions: st.tuples(
        *(
            st.sampled_from([*DIGESTS, None]).map(
                lambda sha256, version=version: their_file(
                    version, sha256=sha256, metadata_sha256="ef" * 32
                )
            )
            for version in versions
        )
    )
)


def state_of(files: tuple[File, ...], cached: int = 0, **fields: object) -> UpstreamState:
    """The state of an upstream project with these files, the first of them cached."""
    kept = [as_stored(file, key=f".kept/{file.filename}", size=1) for file in files[:cached]]
    listing = Listing(name=SPAM, files=in_order(files), confirmed=NOW, index="i")  # type: ignore[arg-type]
    return UpstreamState(
        listing=listing,
        kept=tuple(file for file in kept if file.sha256 is not None),
        **fields,  # type: ignore[arg-type]
    )


class ViewTests(SynchronousTestCase):
    """What `policy.view` shows under restrictions."""

    @given(
        FILES,
        st.integers(0, 3),
        st.lists(RULES, max_size=2),
        st.dictionaries(st.sampled_from(DIGESTS), st.just(ANY) | RULES),
        st.sampled_from([Presence.ABSENT, Project(name=SPAM, files=(OUR_FILE,))]),
        st.booleans(),
        st.sampled_from([Mode.CACHE, Mode.OFFLINE]),
    )
    def test_pages_show_exactly_what_no_rule_holds(
        self,
        files: tuple[File, ...],
        cached: int,
        rules: list[VersionRule],
        digests: dict[str, VersionRule],
        ours: Project | Presence,
        is_compact: bool,
        mode: Mode,
    ) -> None:
        """The view with rules is the view without them, less the files that a rule holds."""
        free = Policy(mode=mode, allow_mixed=("*",))
        policy = evolve(free, restrictions=RestrictionsInForce())
        policy.restrictions.replace("blocks", {SPAM: ProjectRestrictions(tuple(rules))}, digests)
        state = state_of(files, cached)
        if is_compact and state.listing is not None and state.listing.files is not None:
            listing = evolve(state.listing, files=packed(state.listing.files))
            state = evolve(state, listing=listing)
        everything, found = (view(each, ours, state, NOW, SPAM) for each in (free, policy))
        hold = policy.restrictions.current.hold
        expected = tuple(file for file in everything.files if hold(file) is None)
        self.assertEqual(tuple(found.files), expected)
        self.assertEqual(evolve(found, files=()), evolve(everything, files=()))
        for file in everything.files:
            self.assertEqual(found.file(file.filename), file if hold(file) is None else None)

    def test_withheld_local_file_keeps_its_name(self) -> None:
        """Upstream's file of the same name does not take the place of a blocked local one."""
        policy = Policy(mode=Mode.CACHE, allow_mixed=("*",), restrictions=RestrictionsInForce())
        policy.restrictions.replace("blocks", {}, {OUR_FILE.sha256: ANY})
        local = Project(name=SPAM, files=(OUR_FILE,))
        for files in (state_of((their_file("1.0"),)), None):
            self.assertEqual(tuple(view(policy, local, files, NOW, SPAM).files), ())

    def test_advisories_never_hide_a_local_file(self) -> None:
        """A rule for upstream files leaves a local project of the same name alone."""
        policy = Policy(mode=Mode.CACHE, allow_mixed=("*",), restrictions=RestrictionsInForce())
        rule = VersionRule(frozenset(VERSIONS), upstream_only=True)
        policy.restrictions.replace("malware", {SPAM: ProjectRestrictions((rule,))})
        local, state = Project(name=SPAM, files=(OUR_FILE,)), state_of((their_file("2.0"),))
        found = view(policy, local, state, NOW, SPAM)
        self.assertEqual([file.filename for file in found.files], [OUR_FILE.filename])


class RestrictionsTests(SynchronousTestCase):
    """The rules in force."""

    def test_sources_do_not_touch_each_other(self) -> None:
        """Each source replaces its own rules; together they hide what any of them hides."""
        force, other = RestrictionsInForce(), project_name("other")
        one, two = VersionRule(frozenset(["1.0"])), VersionRule(frozenset(["2.0"]))
        force.replace("blocks", {SPAM: ProjectRestrictions((one,))})
        force.replace("malware", {SPAM: ProjectRestrictions((two,)), other: ProjectRestrictions()})
        found = force.current.of(SPAM)
        assert found is not None
        self.assertEqual(found.rules, (one, two))
        self.assertIsNone(force.current.of(project_name("third")))
        force.replace("blocks", {})
        found = force.current.of(SPAM)
        assert found is not None
        self.assertEqual(found.rules, (two,))
        force.replace("malware", {})
        self.assertIsNone(force.current.of(SPAM))

    def test_editions(self) -> None:
        """The edition of a project changes with its rules and with digests, not with the rules of
        another project; equal rules give the same edition.
        """
        force, other = RestrictionsInForce(), project_name("other")
        restrictions = ProjectRestrictions((VersionRule(frozenset(["1.0"])),))
        first = force.current.edition(SPAM)
        force.replace("blocks", {other: restrictions})
        self.assertEqual(force.current.edition(SPAM), first)
        force.replace("blocks", {SPAM: restrictions})
        second = force.current.edition(SPAM)
        self.assertNotEqual(second, first)
        force.replace("blocks", {SPAM: ProjectRestrictions((VersionRule(frozenset(["1.0"])),))})
        self.assertEqual(force.current.edition(SPAM), second)
        force.replace("blocks", {}, {DIGESTS[0]: ANY})
        third = force.current.edition(SPAM)
        self.assertNotIn(third, (first, second))
        force.replace("blocks", {other: restrictions}, {DIGESTS[0]: ANY})
        self.assertEqual(force.current.edition(SPAM), third)
        force.replace("blocks", {})
        self.assertNotIn(force.current.edition(SPAM), (third,))

    def test_rules_by_version_and_digest_decode_no_file(self) -> None:
        """A rule by version looks at each version, one by digest searches."""
        files = packed(
            [
                replace(
                    their_file(f"{number // 100}.0"),
                    filename=f"spam-{number // 100}.0-{number}.whl",
                )
                for number in range(300)
            ]
        )
        state = UpstreamState(listing=Listing(name=SPAM, files=files, confirmed=NOW, index="i"))
        policy = Policy(mode=Mode.CACHE, restrictions=RestrictionsInForce())
        force = policy.restrictions

        def looked_at() -> int:
            return files_looked_at(policy, Presence.ABSENT, state, NOW, SPAM)

        self.assertEqual(looked_at(), 0)
        force.replace("blocks", {SPAM: ProjectRestrictions((VersionRule(frozenset()),))})
        self.assertEqual(looked_at(), 3)
        heavy = ProjectRestrictions((VersionRule(frozenset()),), weight=7)
        force.replace("malware", {SPAM: heavy})
        self.assertEqual(looked_at(), 3 * (1 + 7))
        force.replace("malware", {})
        force.replace("blocks", {}, {DIGESTS[0]: ANY})
        self.assertEqual(looked_at(), 75)
        rule = VersionRule(frozenset(), by_version=False)
        force.replace("blocks", {SPAM: ProjectRestrictions((rule,))})
        self.assertEqual(looked_at(), 300)
        policy = evolve(policy, cooldown=Cooldown(timedelta(days=99)))
        self.assertEqual(looked_at(), 300)
