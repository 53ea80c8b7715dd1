"""``[access] cache_update``: who may make pypid ask other indexes. Everybody else has what is
stored, and no more.
"""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from pypid.core.configuration.choices import Mode
from pypid.core.errors import StorageDown
from pypid.core.permissions import ANONYMOUS, AUTHENTICATED, EVERYONE, Credential, Principals, Rules
from pypid.core.policy import Policy
from pypid.daemon.loopback import OneTime, seen_by
from pypid.flow import start
from tests.distributions import metadata, sdist, sdist_filename, wheel, wheel_filename
from tests.web.full_app import RULES, Answer, J, Pypid, WholeCase
from tests.web.memory_upstream import Elsewhere

HAM, NEWER = wheel_filename("ham"), wheel_filename("ham", "2.0")
EGGS = sdist_filename("eggs")
STORED = ("/simple/ham/", f"/packages/ham/{HAM}", f"/packages/ham/{HAM}.metadata", "/pypi/ham/json")
NOT_STORED = (
    "/simple/eggs/",
    "/+simple/eggs/",
    f"/packages/eggs/{EGGS}",
    f"/packages/source/e/eggs/{EGGS}",
    "/pypi/eggs/json",
    "/pypi/eggs/1.0/json",
    "/api/projects/eggs",
    f"/packages/ham/{NEWER}",
    f"/packages/ham/{NEWER}.metadata",
    f"/packages/py3/h/ham/{NEWER}",
    f"/integrity/ham/2.0/{NEWER}/provenance",
    "/simple/nothing/",
    "/packages/nothing/nothing-1.0.tar.gz",
)
"""Of ham 1.0 is stored, and upstream has 2.0 as well; eggs was never asked for; nothing is nowhere.
"""


class CacheUpdateCase(WholeCase):
    """A pypid where those who log in may fetch, and everybody may read; alice has had ham."""

    rules = Rules(read=EVERYONE, write=RULES.write, fetch=AUTHENTICATED)
    policy = Policy(mode=Mode.CACHE, allow_mixed=("spam",))

    def setUp(self) -> None:
        super().setUp()
        self.upstream = Elsewhere()
        described = self.upstream.has("ham", HAM, wheel("ham"))
        self.upstream.has_beside(described, metadata("ham"))
        self.upstream.has_beside(
            self.upstream.has("ham", NEWER, wheel("ham", "2.0")), metadata("ham", "2.0")
        )
        self.upstream.has("eggs", EGGS, sdist("eggs"))
        self.pypid = Pypid(
            Path(self.mktemp()), rules=self.rules, policy=self.policy, upstream=self.upstream
        )
        for path in STORED:
            self.assertEqual(self.pypid.get(path, user="alice").status, 200, path)
        self.pypid.clock.advance(3600)  # nothing that was heard is fresh

    def quietly(self, path: str, user: str | None = None, accept: str | None = None) -> Answer:
        """An answer that nobody upstream has heard of."""
        before = list(self.upstream.heard)
        answer = self.pypid.get(path, accept, user=user)
        self.assertEqual(self.upstream.heard, before, path)
        return answer


class StoredTests(CacheUpdateCase):
    """What is stored is there for everybody who may read."""

    def test_there(self) -> None:
        """The page has the stored files only; they, their metadata and the JSON are as for those
        who may fetch.
        """
        [file] = self.quietly("/simple/ham/", accept=J).json["files"]
        self.assertEqual((file["filename"], "sha256" in file["core-metadata"]), (HAM, True))
        self.assertEqual(self.quietly(f"/packages/ham/{HAM}").body, wheel("ham"))
        self.assertEqual(self.quietly(f"/packages/ham/{HAM}.metadata").body, metadata("ham"))
        told = self.quietly("/pypi/ham/json").json
        self.assertEqual((told["info"]["version"], list(told["releases"])), ("1.0", ["1.0"]))
        page = self.pypid.get("/simple/ham/", J, user="bob").json
        self.assertEqual({file["filename"] for file in page["files"]}, {HAM, NEWER})

    def test_ours(self) -> None:
        """What is ours is there, and what is not there of a name of ours is 404: nobody would be
        asked for it.
        """
        filename, data = self.have_wheel("bacon")
        self.assertEqual(self.quietly(f"/packages/bacon/{filename}").body, data)
        self.assertEqual(self.quietly("/packages/bacon/bacon-9.0.tar.gz").status, 404)
        self.assertEqual(self.quietly("/pypi/bacon/json").status, 200)

    def test_blended(self) -> None:
        """Of a name of ours that may be blended, ours is there; a file that only upstream may have
        is not.
        """
        filename, data = self.have_wheel("spam")
        self.assertEqual(self.quietly(f"/packages/spam/{filename}").body, data)
        self.assertEqual(
            [file["filename"] for file in self.quietly("/simple/spam/", accept=J).json["files"]],
            [filename],
        )
        self.assertEqual(self.quietly("/packages/spam/spam-9.0.tar.gz").status, 401)


class RefusedTests(CacheUpdateCase):
    """What upstream would have to be asked for."""

    def test_anonymous(self) -> None:
        """It is 401 with a challenge for somebody unknown: who logs in has it."""
        for path in NOT_STORED:
            answer = self.quietly(path)
            self.assertEqual((answer.status, answer["cache-control"]), (401, "no-store"), path)
            self.assertEqual(answer["www-authenticate"], 'Basic realm="pypi", charset="UTF-8"')
        for path in NOT_STORED:
            expected = 404 if "nothing" in path or "provenance" in path else 200
            self.assertEqual(self.pypid.get(path, user="bob").status, expected, path)

    def test_forbidden(self) -> None:
        """It is 403 for somebody known, and the answer says what is missing."""
        self.pypid.app.rules = Rules(
            read=EVERYONE, write=RULES.write, fetch=Principals(users=frozenset({"alice"}))
        )
        for path in NOT_STORED:
            answer = self.quietly(path, user="bob")
            self.refused(answer, 403, "bob", "fetch from the upstream index")
            self.assertIsNone(answer["www-authenticate"])
        self.assertEqual(self.pypid.get("/simple/eggs/", user="alice").status, 200)

    def test_hidden_names(self) -> None:
        """A name that nobody may ask for is 404 for all: no login would change it."""
        reserved = Policy(mode=Mode.CACHE, reserved=("eg*",))
        self.pypid.index.context = evolve(self.pypid.index.context, policy=reserved)
        for user in (None, "bob", "ada"):
            for path in ("/simple/eggs/", f"/packages/eggs/{EGGS}", "/pypi/eggs/json"):
                self.assertEqual(self.quietly(path, user=user).status, 404)

    def test_known_to_others(self) -> None:
        """A page that upstream has told somebody else, and of which nothing is stored, is refused
        all the same.
        """
        self.assertEqual(self.pypid.get("/simple/eggs/", user="alice").status, 200)
        for path in ("/simple/eggs/", f"/packages/eggs/{EGGS}"):
            self.assertEqual(self.quietly(path).status, 401)

    def test_redirect(self) -> None:
        """Where clients are sent upstream, those who may not fetch are sent nowhere."""
        pypid = Pypid(
            Path(self.mktemp()),
            rules=self.rules,
            policy=Policy(mode=Mode.REDIRECT),
            upstream=self.upstream,
        )
        self.assertEqual(pypid.get(f"/packages/ham/{NEWER}", user="bob").status, 302)
        self.assertEqual(pypid.get(f"/packages/ham/{NEWER}").status, 401)
        self.assertEqual(pypid.get(f"/packages/ham/{NEWER}.metadata").status, 401)

    def test_resolver_goes_by_the_rules_in_force(self) -> None:
        """Rules that change while something is collected hold for the resolver's next request."""
        pypid = Pypid(Path(self.mktemp()), policy=Policy(mode=Mode.OFFLINE))
        twin = seen_by(pypid.app, OneTime("secret", ANONYMOUS))
        before = twin.rules
        pypid.app.rules = self.rules
        pypid.app.closed = StorageDown("it is gone.")
        self.successResultOf(start(twin.access.identify(Credential("x", "secret"))))
        self.assertIsNot(before, self.rules)
        self.assertEqual((twin.rules, twin.closed), (self.rules, pypid.app.closed))

    def test_resolver_is_not_sent_upstream(self) -> None:
        """A resolver on this machine gets metadata from pypid in every mode, and never a URL of
        upstream's.
        """
        pypid = Pypid(
            Path(self.mktemp()), policy=Policy(mode=Mode.REDIRECT), upstream=self.upstream
        )
        path = f"/packages/ham/{NEWER}.metadata"
        self.assertEqual(pypid.get(path).status, 302)
        pypid.app.settings = seen_by(pypid.app, OneTime("secret", ANONYMOUS)).settings
        self.assertEqual(
            (pypid.get(path).status, pypid.get(path).body), (200, metadata("ham", "2.0"))
        )


class PrivateTests(CacheUpdateCase):
    """Not everybody sees the same, so nobody's answer is for somebody else's cache."""

    def test_private(self) -> None:
        """Pages, files, metadata and JSON are private, for those who may and those who may not; and
        differ.
        """
        for path in STORED:
            for user in (None, "bob"):
                answer = self.pypid.get(path, user=user)
                assert answer["cache-control"] is not None
                self.assertIn("private", answer["cache-control"], path)
                self.assertNotIn("public", answer["cache-control"])
                self.assertIsNone(answer["access-control-allow-origin"])
        own, theirs = (self.pypid.get("/simple/ham/", J, user=user) for user in (None, "bob"))
        self.assertNotEqual((own["etag"], own.body), (theirs["etag"], theirs.body))
        assert own["etag"] is not None
        again = self.pypid.get("/simple/ham/", J, ("If-None-Match", own["etag"]), user="bob")
        self.assertEqual(again.status, 200)
