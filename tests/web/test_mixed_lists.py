"""Projects whose files come from several indexes: a client gets none that it may not read there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pypid.core.configuration.choices import Mode
from pypid.core.indexes import IndexSettings
from pypid.core.permissions import Principals
from pypid.core.policy import Policy
from tests.distributions import metadata, wheel, wheel_filename
from tests.web.advised import advise, advisory
from tests.web.full_app import Answer, J, Pypid, WholeCase
from tests.web.memory_upstream import Elsewhere
from tests.web.routes import ALL_ROUTES
from tests.web.test_index_matrix import unpacked
from tests.web.test_matrix import target_of

ALICE = Principals.parse("alice")
SECRET = "6.6.6"


class MixedListTests(WholeCase):
    """An index `base`, where alice alone may read, has spam 6.6.6. `merging` and `mixing` have spam
    1.0 and `base` as a base; everyone may read them. `above` has `merging` as a base; `both` merges
    `base` and `open`, which has spam 2.0.
    """

    def setUp(self) -> None:
        super().setUp()
        indexes = (
            IndexSettings(name="base", bases=(), read=ALICE, write=ALICE),
            IndexSettings(name="merging", bases=("base",), merge=("*",)),
            IndexSettings(name="mixing", bases=("base",), allow_mixed=("*",)),
            IndexSettings(name="above", bases=("merging",)),
            IndexSettings(name="open", bases=()),
            IndexSettings(name="both", bases=("base", "open"), merge=("*",)),
        )
        self.pypid = Pypid(
            Path(self.mktemp()),
            indexes=indexes,
            policy=Policy(mode=Mode.CACHE),
            upstream=Elsewhere(),
        )
        found = (advisory("PYSEC-1", ("spam", "0", "1.5")),)
        advise(self.pypid, Path(self.mktemp()), found, ())
        self.put("base", SECRET)
        for index, version in (("merging", "1.0"), ("mixing", "1.0"), ("open", "2.0")):
            self.put(index, version)

    def put(self, index: str, version: str) -> None:
        """Publish a release of spam in the index."""
        described = metadata("spam", version, summary=f"{version} of {index}")
        data = wheel("spam", version, metadata_bytes=described)
        target = f"/{index}/legacy/"
        self.published(self.publish(wheel_filename("spam", version), data, target=target))

    def answers(self, index: str, user: str | None) -> Iterator[tuple[str, Answer]]:
        """Yield the answers of all routes of the index that read."""
        for route in ALL_ROUTES:
            if route.below_index and "GET" in route.methods:
                target = f"/{index}{target_of(route.path, 'spam')}"
                for accept in (None, J):
                    yield target, self.pypid.get(target, accept, user=user)
        for path in (
            "/api/search?q=spam",
            "/search?q=spam",
            "/at/2026-01-01T00:30:00Z/simple/spam/",
            f"/at/2026-01-01T00:30:00Z/packages/spam/{wheel_filename('spam', SECRET)}",
        ):
            yield path, self.pypid.get(f"/{index}{path}", user=user)

    maxDiff = None

    def test_no_answer_has_a_release_of_a_base_that_the_client_may_not_read(self) -> None:
        """Also after a client that may has got it."""
        found = []
        self.pypid.clock.advance(3600)
        for index in ("merging", "mixing", "above", "both"):
            for user in ("bob", None, "alice", "bob", None):
                for place, answer in self.answers(index, user):
                    self.assertNotEqual(answer.status, 500, (place, user))
                    if SECRET in place:
                        status = 200 if user == "alice" else 404
                        self.assertEqual(answer.status, status, (place, user))
                    elif user != "alice" and SECRET in unpacked(answer):
                        found.append((index, user, place))
        self.assertEqual(sorted(set(map(str, found))), [])

    def test_lists_do_not_tell_of_uploads_to_other_indexes(self) -> None:
        """The serial of a list is one of its projects'."""
        paths = "/simple/", "/open/simple/"
        before = [self.pypid.get(path, J).body for path in paths]
        self.put("base", "7.0")
        self.assertEqual([self.pypid.get(path, J).body for path in paths], before)
        self.put("open", "7.0")
        self.assertNotEqual(self.pypid.get("/open/simple/", J).body, before[1])

    def test_list_has_the_serial_of_the_page(self) -> None:
        """Also for a viewer who may not read the first base that has the project."""
        for user in (None, "alice"):
            self.put("base", "7.0" if user else "8.0")
            for index in ("both", "merging", "mixing", "above"):
                listed = self.pypid.get(f"/{index}/simple/", J, user=user).json["projects"]
                page = self.pypid.get(f"/{index}/simple/spam/", J, user=user).json
                [serial] = [each["_last-serial"] for each in listed if each["name"] == "spam"]
                self.assertEqual(serial, page["meta"]["_last-serial"], (index, user))

    def test_downloads_are_counted_for_readers_of_all_files(self) -> None:
        """Downloads of an index include those of files that it inherits."""
        for index in ("merging", "both", "open"):
            path = f"/{index}/api/projects/spam/downloads"
            partial = index != "open"
            statuses = {user: self.pypid.get(path, user=user).status for user in (None, "alice")}
            self.assertEqual(
                statuses["alice"], self.pypid.get("/open" + path[len(index) + 1 :]).status
            )
            self.assertEqual(statuses[None] == statuses["alice"], not partial, (index, statuses))
