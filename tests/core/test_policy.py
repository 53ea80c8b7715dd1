"""The rules about what may go upstream, what is visible, how it travels, and what may come in."""

from datetime import UTC, datetime, timedelta

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown, CooldownException
from pypid.core.errors import UpstreamDown
from pypid.core.model import (
    ListedFile,
    Listing,
    Presence,
    Project,
    Status,
    StoredFile,
    as_stored,
    in_order,
)
from pypid.core.packaging.names import project_name
from pypid.core.policy import (
    Hidden,
    Keep,
    PassOn,
    Policy,
    Serve,
    Silence,
    UpstreamState,
    asks_upstream,
    changes_at,
    delivery,
    hidden,
    listed,
    silence,
    view,
    visible_from,
)
from pypid.core.simple_api.listed_files import packed

SPAM = project_name("spam")
NOW = datetime(2026, 1, 20, tzinfo=UTC)
GLOBS = st.sampled_from(
    [(), ("spam",), ("sp*",), ("other",), ("*",), ("SPAM",), ("s[a-q]am", "x-*")]
)
OUR_FILE = StoredFile(
    project=SPAM,
    filename="spam-1.0.tar.gz",
    version="1.0",
    sha256="ab" * 32,
    size=1,
    key="spam/spam-1.0.tar.gz",
)


def their_file(version: str, **fields: object) -> ListedFile:
    """A file of theirs, as upstream lists it."""
    filename = f"spam-{version}.tar.gz"
    values = {
        "sha256": "cd" * 32,
        "size": 2,
        "uploaded": NOW - timedelta(days=30),
        "source": f"https://up.example/{filename}",
    }
    return ListedFile(project=SPAM, filename=filename, version=version, **{**values, **fields})  # type: ignore[arg-type]


OURS = st.sampled_from(Presence) | st.builds(
    Project,
    name=st.just(SPAM),
    files=st.sampled_from([(), (OUR_FILE,)]),
    status=st.sampled_from(Status),
)
WAITS = st.sampled_from([timedelta(), timedelta(days=3), timedelta(days=60)]) | st.integers(
    0, 90
).map(lambda days: NOW - timedelta(days=days))
COOLDOWNS = st.builds(
    Cooldown,
    WAITS,
    st.lists(
        st.builds(
            CooldownException,
            st.sampled_from(["sp*", "spam", "eggs"]),
            WAITS,
            st.sampled_from(["", "", "==2.0", ">=2", "<3,>1", "==4.*"]),
            st.none() | st.integers(-9, 90).map(lambda days: NOW + timedelta(days=days)),
        ),
        max_size=4,
    ).map(tuple),
)
POLICIES = st.builds(
    Policy,
    mode=st.sampled_from(Mode),
    reserved=GLOBS,
    allow=GLOBS,
    deny=GLOBS,
    allow_mixed=GLOBS,
    cooldown=COOLDOWNS,
)
FILES = st.lists(
    st.builds(
        their_file,
        st.sampled_from(["1.0", "2.0", "3.0", "4.0"]),
        sha256=st.sampled_from(["cd" * 32, "cd" * 32, None]),
        md5=st.sampled_from([None, "ef" * 16]),
        uploaded=st.none() | st.integers(0, 90).map(lambda days: NOW - timedelta(days=days)),
        seen=st.none() | st.integers(0, 90).map(lambda days: NOW - timedelta(days=days)),
        yanked=st.sampled_from([None, "", "bad"]),
    ),
    max_size=4,
    unique_by=lambda file: file.filename,
).map(tuple)
SAID = st.none() | st.builds(
    Listing,
    name=st.just(SPAM),
    files=st.none() | FILES,
    confirmed=st.just(NOW),
    index=st.just("https://up.example/simple/"),
    status=st.sampled_from(Status),
)
KEPT = FILES.map(
    lambda files: tuple(
        as_stored(
            file,
            key=f".kept/spam/{file.filename}",
            sha256=file.sha256 or "cd" * 32,
            size=file.size or 2,
        )
        for file in files
    )
)
FAILURE = st.none() | st.just(UpstreamDown("it refuses connections."))
THEIRS = st.none() | st.builds(
    UpstreamState, listing=SAID, kept=KEPT, reachable=st.booleans(), failure=FAILURE
)
many = settings(max_examples=100, deadline=None, database=None)


class SilenceTests(SynchronousTestCase):
    """What may be told to another index."""

    @many
    @given(POLICIES, OURS)
    def test_nothing_private(self, policy: Policy, ours: Project | Presence) -> None:
        """A name that is reserved, unknown, denied, or local in any index and not mixed is never
        told, in any mode.
        """
        if asks_upstream(policy, SPAM, ours):
            self.assertIsNot(policy.mode, Mode.OFFLINE)
            self.assertIsNot(ours, Presence.UNKNOWN)
            for globs in (policy.reserved, policy.deny):
                self.assertFalse({"spam", "SPAM", "sp*", "*"} & set(globs))
            if isinstance(ours, Project) or ours is Presence.ELSEWHERE:
                self.assertTrue(
                    set(policy.allow_mixed) & {"spam", "SPAM", "sp*", "*"}
                    or "s[a-q]am" in policy.allow_mixed
                )


class ViewTests(SynchronousTestCase):
    """What a client may see."""

    @many
    @given(POLICIES, OURS, THEIRS)
    def test_invariants(
        self, policy: Policy, ours: Project | Presence, theirs: UpstreamState | None
    ) -> None:
        """Ours are all there and never replaced; theirs are there only by the rules; every visible
        file can be delivered.
        """
        seen = view(policy, ours, theirs, NOW, SPAM)
        own = ours if isinstance(ours, Project) else None
        if own is not None and own.status.offers_files:
            for file in own.files:
                self.assertEqual(seen.file(file.filename), file)
        foreign = [file for file in seen.files if own is None or file not in own.files]
        for file in foreign:
            assert theirs is not None
            self.assertIn(silence(policy, SPAM, ours), (None, Silence.OFFLINE))
            self.assertLessEqual(visible_from(policy, file, NOW), NOW)
            if theirs.stored_only or policy.mode is Mode.OFFLINE:
                self.assertIsInstance(file, StoredFile)
            if theirs.listing is not None:
                self.assertTrue(theirs.listing.status.offers_files)
        for file in seen.files:
            self.assertIsInstance(delivery(policy, file), (Serve, PassOn, Keep))
        self.assertEqual(len({file.filename for file in seen.files}), len(seen.files))

    def test_changed_bytes_without_sha256(self) -> None:
        """So it is where upstream lists any other hash than a sha256, or only how long
        the file is.
        """
        kept = as_stored(
            their_file("1.0", md5="12" * 16, digest="sha512=12"), key=".kept/spam/spam-1.0.tar.gz"
        )
        for said, same in (
            ({"md5": "12" * 16}, True),
            ({"digest": "sha512=12"}, True),
            ({}, True),
            ({"md5": "34" * 16}, False),
            ({"digest": "sha512=34"}, False),
            ({"size": 3}, False),
        ):
            now = their_file("1.0", **{"sha256": None, **said})
            remembered = Listing(name=SPAM, files=(now,), confirmed=NOW, index="i")
            [file] = listed(UpstreamState(listing=remembered, kept=(kept,)))
            self.assertEqual(
                (getattr(file, "key", None), file.sha256),
                (kept.key, kept.sha256) if same else (None, None),
                said,
            )

    def test_files_without_a_hash_are_hidden_where_hashes_are_required(self) -> None:
        """With `require_hashes` only files that can be verified are shown, whatever their hash;
        what is kept already stays.
        """
        bare = replace(their_file("1.0"), sha256=None)
        files = (bare, their_file("2.0"), replace(their_file("3.0"), sha256=None, md5="ab" * 16))
        theirs = UpstreamState(listing=Listing(name=SPAM, files=files, confirmed=NOW, index="i"))
        for required, versions in ((False, ["1.0", "2.0", "3.0"]), (True, ["2.0", "3.0"])):
            policy = Policy(mode=Mode.CACHE, require_hashes=required)
            shown = view(policy, Presence.ABSENT, theirs, NOW, SPAM).files
            self.assertEqual([file.version for file in shown], versions)
        self.assertEqual(hidden(policy, bare, theirs, frozenset(), NOW), Hidden.UNVERIFIED)
        self.assertIsNone(
            hidden(policy, as_stored(bare, key=".kept/spam/x"), theirs, frozenset(), NOW)
        )


class PackedTests(SynchronousTestCase):
    """A listing as compact bytes."""

    @many
    @given(POLICIES, OURS, THEIRS, st.booleans())
    def test_same_view(
        self,
        policy: Policy,
        ours: Project | Presence,
        theirs: UpstreamState | None,
        require_hashes: bool,
    ) -> None:
        """Rules that work on columns hide the same files as rules that look at each file."""
        if theirs is None or theirs.listing is None or theirs.listing.files is None:
            return
        policy = evolve(policy, require_hashes=require_hashes, allow_mixed=("*",))
        files = in_order(theirs.listing.files)
        plain = evolve(theirs, listing=evolve(theirs.listing, files=files))
        compact = evolve(theirs, listing=evolve(theirs.listing, files=packed(files)))
        one, other = (view(policy, ours, each, NOW, SPAM) for each in (plain, compact))
        self.assertEqual(tuple(one.files), tuple(other.files))
        self.assertEqual(evolve(one, files=()), evolve(other, files=()))
        self.assertEqual(*(changes_at(policy, each, SPAM, NOW) for each in (plain, compact)))


class CooldownTests(SynchronousTestCase):
    """Files that are too young."""

    def test_yanked_file_stays_hidden_inside_the_cooldown(self) -> None:
        """A release that its owner yanks an hour after the upload is not visible to a pin either,
        until it is old enough.
        """
        policy = Policy(mode=Mode.CACHE, cooldown=Cooldown(timedelta(days=3)))
        file = their_file("1.0", uploaded=NOW - timedelta(hours=1), yanked="compromised")
        theirs = UpstreamState(listing=Listing(name=SPAM, files=(file,), confirmed=NOW, index="i"))
        self.assertIs(hidden(policy, file, theirs, frozenset(), NOW), Hidden.COOLDOWN)
        self.assertEqual(view(policy, Presence.ABSENT, theirs, NOW, SPAM).files, ())
        due = changes_at(policy, theirs, SPAM, NOW)
        self.assertEqual(due, NOW + timedelta(days=3) - timedelta(hours=1))
        self.assertEqual(view(policy, Presence.ABSENT, theirs, due or NOW, SPAM).files, (file,))
