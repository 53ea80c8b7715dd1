"""Who may do what over HTTP, route by route, and what becomes of passwords (C90 to C95 of
docs/reference/conformance.rst).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.logger import LogEvent, eventAsText, globalLogPublisher

from pypid.core.approvals import ApprovalDocument, ApprovalVerdict
from pypid.core.permissions import (
    ADMINS,
    AUTHENTICATED,
    EVERYONE,
    NOBODY,
    Action,
    Principals,
    Rules,
)
from pypid.core.records.documents import BlockDocument, dump
from pypid.core.trust import TrustDocument
from pypid.flow import BytesBody
from pypid.testing.worlds import BEGINNING
from pypid.web.app.route import ANYBODY, SOMEBODY
from tests.distributions import wheel, wheel_filename
from tests.web.full_app import HOST, PASSWORDS, PRIVATE, Answer, Pypid, WholeCase, basic, spelled
from tests.web.routes import ALL_ROUTES
from tests.web.uploaders import Dist, twine_7

GET = frozenset({"GET", "HEAD"})
READ, WRITE, DELETE, COLLECT, MANAGE, ADMIN = (
    Action.READ,
    Action.WRITE,
    Action.DELETE,
    Action.COLLECT,
    Action.MANAGE,
    Action.ADMIN,
)
PROJECT = "/api/projects/<project>"
FILE = f"{PROJECT}/files/<filename>"
RELEASE = f"{PROJECT}/releases/<version>"

MATRIX = {
    ("/", GET): READ,
    ("/", "POST"): WRITE,
    ("/_/ui/<digest>/<name>", GET): ANYBODY,
    ("/api/news", GET): READ,
    ("/api/search", GET): READ,
    ("/search", GET): READ,
    ("/rss/updates.xml", GET): READ,
    ("/rss/packages.xml", GET): READ,
    ("/rss/project/<project>/releases.xml", GET): READ,
    ("/project/<project>/", GET): READ,
    ("/project/<project>/<version>/", GET): READ,
    ("/project/<project>/-/versions", GET): READ,
    ("/project/<project>/-/contents/<filename>", GET): READ,
    ("/project/<project>/-/compare", GET): READ,
    ("/health", GET): ANYBODY,
    ("/ready", GET): ANYBODY,
    ("/metrics", GET): Action.METRICS,
    ("/api/indexes", GET): ANYBODY,
    ("/api/indexes", "POST"): ADMIN,
    ("/api/indexes/<index>", GET): ANYBODY,
    ("/api/indexes/<index>", "PATCH"): ADMIN,
    ("/api/indexes/<index>", "DELETE"): ADMIN,
    ("/api/promotions", GET): SOMEBODY,
    ("/api/indexes/<index>/promotions", GET): SOMEBODY,
    ("/api/indexes/<index>/promotions", "POST"): SOMEBODY,
    ("/api/log-level", GET): ADMIN,
    ("/api/log-level", "PUT"): ADMIN,
    ("/api/reload", "POST"): ADMIN,
    ("/api/status", GET): ADMIN,
    ("/api/configuration", GET): ADMIN,
    ("/api/storage", GET): ADMIN,
    ("/api/upstream", GET): ADMIN,
    # the Simple API
    ("/simple/", GET): READ,
    ("/simple/", "OPTIONS"): READ,
    ("/simple/", "POST"): WRITE,
    ("/simple/<project>/", GET): READ,
    ("/simple/<project>/", "OPTIONS"): READ,
    # the same, only what is stored
    ("/local/", GET): READ,
    ("/local/", "OPTIONS"): READ,
    ("/local/<project>/", GET): READ,
    ("/local/<project>/", "OPTIONS"): READ,
    ("/local/<project>/<filename>", GET): READ,
    ("/local/<project>/<filename>", "OPTIONS"): READ,
    # as of a moment
    ("/at/<moment>/simple/", GET): READ,
    ("/at/<moment>/simple/", "OPTIONS"): READ,
    ("/at/<moment>/simple/<project>/", GET): READ,
    ("/at/<moment>/simple/<project>/", "OPTIONS"): READ,
    ("/at/<moment>/packages/<project>/<filename>", GET): READ,
    ("/at/<moment>/packages/<project>/<filename>", "OPTIONS"): READ,
    ("/api/trust", GET): ADMIN,
    ("/api/trust/<project>", "DELETE"): ADMIN,
    ("/api/trust/<project>/approvals", "POST"): ADMIN,
    ("/api/trust/<project>/files/<filename>", GET): READ,
    ("/api/blocks", GET): ADMIN,
    ("/api/blocks", "POST"): ADMIN,
    ("/api/blocks/<block>", GET): ADMIN,
    ("/api/blocks/<block>", "DELETE"): ADMIN,
    ("/api/approvals", GET): ADMIN,
    ("/api/approvals", "POST"): ADMIN,
    ("/api/approvals/<approval>", "DELETE"): ADMIN,
    ("/api/projects/<project>/approval", GET): ADMIN,
    # files
    ("/packages/<project>/<filename>", GET): READ,
    ("/packages/<project>/<filename>", "OPTIONS"): READ,
    ("/integrity/<project>/<version>/<filename>/provenance", GET): READ,
    # uploads, and what hatch asks around them
    ("/legacy/", GET): READ,
    ("/legacy/", "POST"): WRITE,
    ("/legacy/<project>/", GET): READ,
    ("/legacy/<project>/<version>/", GET): READ,
    ("/+simple/<project>/", GET): READ,
    ("/legacy/+simple/<project>/", GET): READ,
    ("/simple/+simple/<project>/", GET): READ,
    # older APIs
    ("/pypi/", GET): READ,
    ("/pypi/", "POST"): WRITE,
    ("/pypi/<project>/json", GET): READ,
    ("/pypi/<project>/json", "OPTIONS"): READ,
    ("/pypi/<project>/<version>/json", GET): READ,
    ("/pypi/<project>/<version>/json", "OPTIONS"): READ,
    # pypicache's
    ("/uploadpackage/", "POST"): WRITE,
    ("/requirements.txt", "POST"): COLLECT,  # and READ: the answer tells what is here
    ("/packages/<python>/<letter>/<project>/<filename>", GET): READ,
    ("/packages/<python>/<letter>/<project>/<filename>", "PUT"): WRITE,
    # the site: publishing and changing
    ("/upload", GET): WRITE,
    ("/upload", "POST"): WRITE,
    ("/project/<project>/-/settings", GET): WRITE,  # and READ: it tells what is there
    ("/project/<project>/-/yank", "POST"): WRITE,
    ("/project/<project>/-/unyank", "POST"): WRITE,
    ("/project/<project>/-/promote", "POST"): WRITE,
    ("/project/<project>/-/delete", "POST"): DELETE,
    ("/project/<project>/-/status", "POST"): ADMIN,
    ("/project/<project>/-/release-name", "POST"): ADMIN,
    ("/project/<project>/-/owner", "POST"): ADMIN,
    # pypicloud's
    ("/api/package/", GET): READ,
    ("/api/package/<project>/", GET): READ,
    ("/api/package/<project>/<filename>", GET): READ,
    ("/api/package/<project>/<filename>", "POST"): WRITE,
    ("/api/package/<project>/<filename>", "DELETE"): DELETE,  # and WRITE
    ("/packages/", GET): READ,
    ("/pypi/<project>/", GET): READ,
    ("/simple/<project>/json", GET): READ,
    ("/<project>/", GET): READ,
    # management
    ("/api/projects", GET): READ,
    (PROJECT, GET): READ,
    (PROJECT, "DELETE"): DELETE,
    (f"{PROJECT}/status", "PUT"): ADMIN,
    (f"{FILE}/contents", GET): READ,
    (f"{PROJECT}/compare", GET): READ,
    (FILE, "DELETE"): DELETE,
    (f"{FILE}/yank", "PUT"): WRITE,
    (f"{FILE}/yank", "DELETE"): WRITE,
    (RELEASE, "DELETE"): DELETE,
    (f"{RELEASE}/yank", "PUT"): WRITE,
    (f"{RELEASE}/yank", "DELETE"): WRITE,
    ("/api/names/<project>", "DELETE"): ADMIN,
    ("/api/why/<project>", GET): WRITE,
    ("/api/why/<project>/<filename>", GET): WRITE,
    ("/api/cache", GET): ADMIN,
    ("/api/cache", "DELETE"): ADMIN,
    ("/api/cache/<project>", GET): ADMIN,
    ("/api/cache/<project>", "DELETE"): ADMIN,
    ("/api/cache/<project>/<filename>", "DELETE"): ADMIN,
    ("/api/check", "POST"): ADMIN,
    ("/api/export", "POST"): ADMIN,
    ("/api/tier", "POST"): ADMIN,
    ("/api/rebuild", "POST"): ADMIN,
    ("/api/rebuild/<project>", "POST"): ADMIN,
    ("/api/adopt", "POST"): ADMIN,
    ("/api/adopt/survey", "POST"): ADMIN,
    ("/api/import", "POST"): ADMIN,
    ("/api/import/survey", "POST"): ADMIN,
    # trusted publishing: the body says who it is
    ("/_/oidc/audience", GET): ANYBODY,
    ("/_/oidc/mint-token", "POST"): ANYBODY,
    ("/_/oidc/github/mint-token", "POST"): ANYBODY,
    ("/.well-known/pytp", GET): ANYBODY,
    # people
    ("/api/me", GET): ANYBODY,
    ("/api/users", GET): ADMIN,
    ("/api/users", "POST"): ADMIN,
    ("/api/users/<name>", GET): ADMIN,
    ("/api/users/<name>", "PATCH"): ADMIN,
    ("/api/users/<name>", "DELETE"): ADMIN,
    ("/api/users/<name>/password", "PUT"): SOMEBODY,  # their own; an admin anybody's
    ("/api/groups", GET): ADMIN,
    ("/api/groups", "POST"): ADMIN,
    ("/api/groups/<name>", GET): ADMIN,
    ("/api/groups/<name>", "DELETE"): ADMIN,
    ("/api/groups/<name>/members/<user>", "PUT"): ADMIN,
    ("/api/groups/<name>/members/<user>", "DELETE"): ADMIN,
    ("/api/rights", GET): ADMIN,
    ("/api/rights/<glob>", GET): ADMIN,
    ("/api/rights/<glob>/<kind>", "PUT"): ADMIN,
    ("/api/rights/<glob>/<kind>", "DELETE"): ADMIN,
    ("/api/rights/<glob>/<kind>/<name>", "PUT"): ADMIN,
    ("/api/rights/<glob>/<kind>/<name>", "DELETE"): ADMIN,
    (f"{PROJECT}/owner", GET): MANAGE,
    (f"{PROJECT}/owner", "PUT"): ADMIN,
    (f"{PROJECT}/owner", "DELETE"): ADMIN,
    (f"{PROJECT}/access/<user>", GET): ADMIN,
    (f"{PROJECT}/rights", GET): MANAGE,
    (f"{PROJECT}/rights/<kind>", "PUT"): MANAGE,
    (f"{PROJECT}/rights/<kind>", "DELETE"): MANAGE,
    (f"{PROJECT}/rights/<kind>/<name>", "PUT"): MANAGE,
    (f"{PROJECT}/rights/<kind>/<name>", "DELETE"): MANAGE,
    ("/api/tokens", GET): SOMEBODY,  # their own; an admin all
    ("/api/tokens", "POST"): SOMEBODY,
    ("/api/tokens/<id>", "DELETE"): SOMEBODY,
    # pypicloud's
    ("/api/user/<name>", "PUT"): ANYBODY,
    ("/api/user/password", "PUT"): ANYBODY,
    ("/api/user/password", "POST"): SOMEBODY,
    ("/api/acl", GET): ADMIN,
    ("/api/acl", "POST"): ADMIN,
    ("/acct/login", GET): ANYBODY,
    ("/acct/login", "POST"): ANYBODY,
    ("/acct/login", "PUT"): ANYBODY,
    ("/acct/tokenRegister", "PUT"): ANYBODY,
    ("/acct/logout", "POST"): ANYBODY,
    ("/admin/rebuild", "POST"): ADMIN,
    ("/admin/acl.json.gz", GET): ADMIN,
    ("/admin/register", "POST"): ADMIN,
    ("/admin/pending_users", GET): ADMIN,
    ("/admin/token/<name>", GET): ADMIN,
    ("/admin/user", GET): ADMIN,
    ("/admin/user/<name>", GET): ADMIN,
    ("/admin/user/<name>", "PUT"): ADMIN,
    ("/admin/user/<name>", "DELETE"): ADMIN,
    ("/admin/user/<name>/permissions", GET): ADMIN,
    ("/admin/user/<name>/approve", "POST"): ADMIN,
    ("/admin/user/<name>/admin", "POST"): ADMIN,
    ("/admin/user/<name>/group/<group>", "PUT"): ADMIN,
    ("/admin/user/<name>/group/<group>", "DELETE"): ADMIN,
    ("/admin/group", GET): ADMIN,
    ("/admin/group/<name>", GET): ADMIN,
    ("/admin/group/<name>", "PUT"): ADMIN,
    ("/admin/group/<name>", "DELETE"): ADMIN,
    ("/admin/package/<project>", GET): ADMIN,
    ("/admin/package/<project>/<kind>/<name>/<permission>", "PUT"): ADMIN,
    ("/admin/package/<project>/<kind>/<name>/<permission>", "DELETE"): ADMIN,
    # browsers and newcomers
    ("/api/session", GET): ANYBODY,
    ("/api/session", "POST"): ANYBODY,
    ("/api/session", "DELETE"): ANYBODY,
    ("/api/captcha", GET): ANYBODY,
    ("/api/register", "POST"): ANYBODY,
    ("/api/invitations", GET): ADMIN,
    ("/api/invitations", "POST"): ADMIN,
    ("/api/invitations/<id>", "DELETE"): ADMIN,
    ("/api/audit", GET): ADMIN,
    ("/api/downloads", GET): ADMIN,
    ("/api/projects/<project>/downloads", GET): READ,
    # pages about people
    ("/account/login", GET): ANYBODY,
    ("/account/login", "POST"): ANYBODY,
    ("/account/logout", "POST"): ANYBODY,
    ("/account/register", GET): ANYBODY,
    ("/account/register", "POST"): ANYBODY,
    ("/account/", GET): SOMEBODY,
    ("/account/password", "POST"): SOMEBODY,
    ("/account/tokens", "POST"): SOMEBODY,
    ("/account/tokens/revoke", "POST"): SOMEBODY,
    ("/manage/", GET): ADMIN,
    ("/manage/why", GET): ADMIN,
    ("/manage/upstream", GET): ADMIN,
    ("/manage/upstream/purge", "POST"): ADMIN,
    ("/manage/storage", GET): ADMIN,
    ("/manage/rebuild", "POST"): ADMIN,
    ("/manage/check", "POST"): ADMIN,
    ("/manage/approvals", GET): ADMIN,
    ("/manage/approvals", "POST"): ADMIN,
    ("/manage/approvals/<project>", GET): ADMIN,
    ("/manage/approvals/delete", "POST"): ADMIN,
    ("/manage/blocks", GET): ADMIN,
    ("/manage/blocks", "POST"): ADMIN,
    ("/manage/blocks/delete", "POST"): ADMIN,
    ("/manage/trust", GET): ADMIN,
    ("/manage/trust", "POST"): ADMIN,
    ("/manage/trust/reset", "POST"): ADMIN,
    ("/manage/indexes", GET): ADMIN,
    ("/manage/indexes", "POST"): ADMIN,
    ("/manage/indexes/<name>", GET): ADMIN,
    ("/manage/indexes/change", "POST"): ADMIN,
    ("/manage/indexes/delete", "POST"): ADMIN,
    ("/manage/configuration", GET): ADMIN,
    ("/manage/log-level", "POST"): ADMIN,
    ("/project/<project>/-/why", GET): READ,
    ("/manage/users", GET): ADMIN,
    ("/manage/users", "POST"): ADMIN,
    ("/manage/users/<name>", GET): ADMIN,
    ("/manage/users/<name>/change", "POST"): ADMIN,
    ("/manage/users/<name>/password", "POST"): ADMIN,
    ("/manage/users/<name>/remove", "POST"): ADMIN,
    ("/manage/invitations", "POST"): ADMIN,
    ("/manage/invitations/withdraw", "POST"): ADMIN,
    ("/manage/groups", GET): ADMIN,
    ("/manage/groups", "POST"): ADMIN,
    ("/manage/groups/<name>", GET): ADMIN,
    ("/manage/groups/<name>/join", "POST"): ADMIN,
    ("/manage/groups/<name>/leave", "POST"): ADMIN,
    ("/manage/groups/<name>/remove", "POST"): ADMIN,
    ("/manage/rights", GET): ADMIN,
    ("/manage/rights/<glob>", GET): ADMIN,
    ("/manage/rights/<glob>", "POST"): ADMIN,
    ("/project/<project>/-/rights", GET): MANAGE,
    ("/project/<project>/-/rights", "POST"): MANAGE,
    ("/project/<project>/-/rights/owner", "POST"): ADMIN,
    ("/manage/tokens", GET): ADMIN,
    ("/manage/tokens/revoke", "POST"): ADMIN,
    ("/manage/audit", GET): ADMIN,
    ("/advisories", GET): READ,
    ("/advisories/<advisory>", GET): READ,
    ("/api/advisories", GET): READ,
    ("/api/advisories/check", "POST"): READ,
    ("/osv/v1/query", "POST"): READ,
    ("/osv/v1/querybatch", "POST"): READ,
    ("/osv/v1/vulns/<advisory>", GET): READ,
    ("/api/openapi.json", GET): ANYBODY,
    ("/config/ca.pem", GET): ANYBODY,
    ("/config/<filename>", GET): ANYBODY,
    ("/docs/", GET): ANYBODY,
    ("/docs/<path:page>", GET): ANYBODY,
}
"""Every route and the right that it asks for, written by hand: a new route fails here until
somebody has thought about it.
"""

VALUES = {
    "project": "spam",
    "filename": wheel_filename(),
    "version": "1.0",
    "python": "py3",
    "letter": "s",
}
VALUES |= {"name": "bob", "user": "bob", "kind": "everyone", "id": "a" * 16}
VALUES |= {
    "group": "devs",
    "permission": "read",
    "glob": "acme-*",
    "moment": "2025-12-30",
    "index": "default",
    "advisory": "GHSA-none",
    "block": "acme-00000000",
    "approval": "acme-00000000",
    "digest": "0" * 16,
    "page": "guides/index.html",
}


def each_request() -> Iterator[tuple[str, str, object]]:
    """Method, path and right of every route."""
    for (rule, methods), right in MATRIX.items():
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: VALUES[match[1]], rule)
        for method in [methods] if isinstance(methods, str) else sorted(methods):
            yield method, path, right


class MatrixTests(WholeCase):
    """Every route asks for the right that the matrix says."""

    rules = PRIVATE

    def setUp(self) -> None:
        """Publish a file, so that routes have something to refuse."""
        super().setUp()
        self.have_wheel()
        self.before = self.pypid.page("spam", user="bob")

    def test_complete(self) -> None:
        """The matrix names every route there is, and no other (C90)."""
        said = {
            (rule, GET if methods is GET else frozenset({methods})): right
            for (rule, methods), right in MATRIX.items()
        }
        self.assertEqual({(route.path, route.methods): route.action for route in ALL_ROUTES}, said)

    def as_nobody(self, method: str, path: str, *headers: tuple[str, str]) -> Answer:
        return self.pypid.ask(
            method, path, *headers, body=b"{}" if method in ("PUT", "POST", "DELETE") else None
        )

    def test_anonymous(self) -> None:
        """Without a name every route that shows of the index is 401 with a Basic challenge, HEAD
        and OPTIONS too (C90).
        """
        for method, path, right in each_request():
            answer = self.as_nobody(method, path)
            if right is ANYBODY:
                self.assertNotIn(answer.status, (401, 403, 500), (method, path))
                continue
            self.assertEqual(answer.status, 401, (method, path))
            self.assertEqual(answer["www-authenticate"], 'Basic realm="pypi", charset="UTF-8"')
            self.assertEqual(answer["cache-control"], "no-store")
            self.assertIsNone(answer["access-control-allow-origin"])
        self.assertEqual(self.pypid.page("spam", user="bob"), self.before)

    def test_anonymous_learns_nothing(self) -> None:
        """What is there and what is not is 401 alike (C90): projects, files, metadata, other
        spellings.
        """
        asked = [self.as_nobody("GET", f"/simple/{name}/") for name in ("spam", "nothing", "SPAM")]
        self.assertEqual({(answer.status, answer.text) for answer in asked}, {(401, asked[0].text)})
        # a name that cannot be is 404 before anybody is asked, which tells nothing of what is
        # published
        self.assertEqual(self.as_nobody("GET", "/simple/-x/").status, 404)
        for name in (VALUES["filename"], f"{VALUES['filename']}.metadata", "nothing-1.0.tar.gz"):
            self.assertEqual(self.as_nobody("GET", f"/packages/spam/{name}").status, 401)

    def test_wrong_password(self) -> None:
        """A wrong password is 401 on every route, /health and open ones too (C91)."""
        for method, path, _ in each_request():
            self.assertEqual(
                self.as_nobody(method, path, basic("ada", "wrong")).status, 401, (method, path)
            )
            self.pypid.clock.advance(901)  # who goes on guessing has to wait
        open_index = Pypid(self.spool)
        self.assertEqual(open_index.get("/simple/", None, basic("alice", "wrong")).status, 401)
        self.assertEqual(open_index.get("/simple/", None, basic("nobody", "x")).status, 401)
        self.assertEqual(self.pypid.page("spam", user="bob"), self.before)

    def test_without_the_right(self) -> None:
        """Somebody known who lacks the right is 403, and the answer names the right (C91)."""
        allowed = {
            "bob": {READ, COLLECT, ANYBODY, SOMEBODY},
            "alice": {READ, COLLECT, WRITE, ANYBODY, SOMEBODY},
        }
        for user, rights in allowed.items():
            for method, path, right in each_request():
                if right in rights:
                    continue
                answer = self.pypid.ask(method, path, body=b"{}", user=user)
                self.assertEqual((answer.status, user), (403, user), (method, path))
                self.assertIsNone(answer["www-authenticate"])
                if method != "HEAD":
                    self.assertIn(user, answer.text)
        self.assertEqual(self.pypid.page("spam", user="bob"), self.before)

    def test_with_the_right(self) -> None:
        """Who has the right is never 401 or 403, whatever else is said (C91)."""
        least = {
            READ: "bob",
            COLLECT: "bob",
            WRITE: "alice",
            DELETE: "ada",
            MANAGE: "ada",
            ADMIN: "ada",
            ANYBODY: "bob",
            SOMEBODY: "bob",
        }
        least[Action.METRICS] = "ada"
        for method, path, right in each_request():
            is_page_of_index = path == "/manage/indexes/bob"
            indexes = () if is_page_of_index else None
            pypid = Pypid(Path(self.mktemp()), rules=PRIVATE, indexes=indexes)
            self.published(self.publish(wheel_filename(), wheel(), pypid=pypid))
            if is_page_of_index:
                pypid.api("POST", "/api/indexes", {"name": "bob"})
            block = BlockDocument("acme", "bad", BEGINNING)
            key = f".pypid/blocks/{VALUES['block']}.json"
            self.have(pypid.blobs.write(key, BytesBody(dump(block))))
            known = dump(TrustDocument("spam"))
            self.have(pypid.blobs.write(".pypid/trust/spam.json", BytesBody(known)))
            self.have(pypid.app.decisions.refresh())
            approval = ApprovalDocument(
                project="acme",
                specifier="",
                verdict=ApprovalVerdict.APPROVED,
                reason="",
                by="ada",
                decided=BEGINNING,
            )
            self.have(pypid.app.approvals.decisions.put(VALUES["approval"], approval))
            answer = pypid.ask(
                method, path, body=b"{}" if method in ("PUT", "POST") else None, user=least[right]
            )
            self.assertNotIn(
                answer.status,
                (401, 403, 404 if right not in (READ, ANYBODY) else 0, 500),
                (method, path, answer),
            )

    def test_refused_before_the_body(self) -> None:
        """An upload that may not be is refused before its body has come (C90, C91)."""
        for user, status in ((None, 401), ("bob", 403)):
            connection = self.pypid.connect()
            fields = (
                ("Content-Type", "multipart/form-data; boundary=x"),
                ("Content-Length", "1000000"),
            )
            connection.send(spelled("POST", "/legacy/", *fields, user=user))
            answer = connection.answer()
            assert answer is not None
            self.assertEqual(answer.status, status)
        self.assertEqual(self.incoming(), [])


class RulesTests(WholeCase):
    """Other rules than the usual ones."""

    def answers(self, rules: Rules, user: str | None) -> tuple[int, ...]:
        pypid = Pypid(Path(self.mktemp()), rules=rules)
        upload = self.publish(wheel_filename(), wheel(), user=user, pypid=pypid).status
        self.publish(wheel_filename("other"), wheel("other"), user="ada", pypid=pypid)
        read = pypid.get("/simple/other/", user=user).status
        return read, upload, pypid.api("DELETE", "/api/projects/other", user=user).status

    def test_open(self) -> None:
        """Everyone may read, whoever logs in may publish, admins delete: the default (C90, C91)."""
        rules = Rules(read=EVERYONE, write=AUTHENTICATED, delete=ADMINS)
        self.assertEqual(self.answers(rules, None), (200, 401, 401))
        self.assertEqual(self.answers(rules, "bob"), (200, 200, 403))
        self.assertEqual(self.answers(rules, "ada"), (200, 200, 200))

    def test_closed(self) -> None:
        """Where nobody is named admins still may all but overwrite (C91)."""
        rules = Rules(read=NOBODY, write=NOBODY, delete=NOBODY)
        self.assertEqual(self.answers(rules, None), (401, 401, 401))
        self.assertEqual(self.answers(rules, "bob"), (403, 403, 403))
        self.assertEqual(self.answers(rules, "ada"), (200, 200, 200))

    def test_wide_open(self) -> None:
        """Where everyone may do everything nobody needs a name, and what they do is by nobody
        (C91).
        """
        rules = Rules(read=EVERYONE, write=EVERYONE, delete=EVERYONE)
        self.assertEqual(self.answers(rules, None), (200, 200, 200))

    def test_named(self) -> None:
        """Reading may be for some only (C91)."""
        rules = Rules(
            read=Principals(users=frozenset({"bob"})), write=Principals(users=frozenset({"alice"}))
        )
        self.assertEqual(self.answers(rules, "bob"), (200, 403, 403))
        self.assertEqual(self.answers(rules, "alice"), (403, 200, 403))


class CredentialTests(WholeCase):
    """How somebody logs in."""

    rules = PRIVATE

    def status(self, *headers: tuple[str, str]) -> int:
        return self.pypid.get("/simple/", None, *headers).status

    def test_kinds(self) -> None:
        """A name and a password, ``__token__`` and a token, a bearer token (C93)."""
        for user in PASSWORDS:
            self.assertEqual(self.status(basic(user)), 200, user)
        self.assertEqual(self.status(("Authorization", f"Bearer {PASSWORDS['__token__']}")), 200)
        self.assertEqual(self.status(("Authorization", f"bearer {PASSWORDS['__token__']}")), 200)
        self.assertEqual(self.status(("Authorization", "Bearer pypi-wrong")), 401)

    def test_odd_passwords(self) -> None:
        """A password with a colon and with ö works, in UTF-8 and as requests sends it, in Latin-1
        (C93).
        """
        self.assertIn(":", PASSWORDS["ada"])
        self.assertEqual(self.status(basic("ada", encoding="utf-8")), 200)
        self.assertEqual(self.status(basic("ada", encoding="latin-1")), 200)
        self.assertEqual(self.status(basic("ada", "pa")), 401)

    def test_token_publishes(self) -> None:
        """``__token__`` with its token publishes as CI does (C93)."""
        self.published(self.publish(wheel_filename(), wheel(), user="__token__"))

    def test_damaged(self) -> None:
        """Whatever stands in the header is 401, and nothing of it comes back (C91, C95)."""
        secret = "c2VjcmV0"
        for value in (
            "Basic",
            "Basic ",
            f"Basic {secret}!",
            f"Basic {secret}",  # no colon
            "Basic " + b64encode(b":").decode(),
            "Basic " + b64encode(b"ada:").decode(),
            "Basic " + b64encode(b"ada\0:x").decode(),
            "Basic " + b64encode(b"ada:" + PASSWORDS["ada"].encode() + b"\0").decode(),
            "Basic " + b64encode(b"\xff\xfe:\xff").decode(),
            "Basic " + b64encode(b"a" * 300 + b":x").decode(),
            "Basic " + b64encode(b"ada:" + b"x" * 5000).decode(),
            "Basic " + "A" * 10000,
            f"Digest username={secret}",
            f"Bearer {secret} {secret}",
            "Bearer",
            secret,
            "\xff\xfe",
        ):
            answer = self.pypid.get("/simple/", None, ("Authorization", value))
            self.assertEqual(answer.status, 401, value)
            self.assertNotIn(secret, answer.text)
        self.assertEqual(self.status(("Authorization", ""), basic("ada")), 401)
        self.assertEqual(self.status(basic("ada"), basic("ada")), 401)

    def test_case(self) -> None:
        """Names are compared exactly (C91)."""
        self.assertEqual(self.status(basic("Ada", PASSWORDS["ada"])), 401)
        self.assertEqual(self.status(basic("ada ", PASSWORDS["ada"])), 401)


class SecretsTests(WholeCase):
    """Credentials stay where they were sent."""

    rules = PRIVATE

    @contextmanager
    def listening(self) -> Iterator[list[str]]:
        """All that is logged meanwhile."""
        events: list[str] = []

        def observe(event: LogEvent) -> None:
            events.append(eventAsText(event) + repr(event))

        globalLogPublisher.addObserver(observe)
        try:
            yield events
        finally:
            globalLogPublisher.removeObserver(observe)

    def test_nowhere(self) -> None:
        """Names' passwords are in no log, answer, redirect or URL, nor is the header that carried
        them (C95).
        """
        answers = []
        with self.listening() as events:
            self.published(self.publish(wheel_filename(), wheel()))
            for user in PASSWORDS:
                for method, path, _ in each_request():
                    answers.append(
                        self.pypid.ask(
                            method,
                            path,
                            body=b"{}" if method in ("PUT", "POST") else None,
                            user=user,
                        )
                    )
            said = ("Referer", f"https://ada:s3cret@{HOST}/")
            targets = (
                "/simple",
                "/simple/SPAM/?token=s3cret",
                "/pypi/SPAM/json",
                "/nothing?password=s3cret",
            )
            answers += [self.pypid.get(target, None, said, user="ada") for target in targets]
            answers.append(self.pypid.get("/simple/", None, basic("ada", "wr0ng")))
        written = "\n".join([*events, *self.pypid.log])
        self.assertIn("/simple/SPAM/", written)
        answered = "\n".join(f"{answer.head}{answer.reason}{answer.body!r}" for answer in answers)
        for user, password in PASSWORDS.items():
            encoded = basic(user)[1].partition(" ")[2]
            for secret in (password, encoded):
                self.assertNotIn(secret, written)
                self.assertNotIn(secret, answered)
        for secret in ("wr0ng", b64encode(b"ada:wr0ng").decode()):
            self.assertNotIn(secret, written + answered)
        self.assertNotIn("s3cret", written)

    def test_in_the_host(self) -> None:
        """A Host with a name and a password in it is no host (C95): URLs are made of it."""
        connection = self.pypid.connect()
        connection.send(b"GET /pypi/spam/json HTTP/1.1\r\nHost: ada:s3cret@index.example\r\n\r\n")
        self.assertTrue(connection.rest().startswith(b"HTTP/1.1 400 "))
        self.assertNotIn(b"s3cret", connection.rest())

    def test_upload_form(self) -> None:
        """The form of an upload does not come back either (C95)."""
        sent = twine_7(Dist(wheel_filename(), wheel()))
        with self.listening() as events:
            kind = ("Content-Type", sent.content_type)
            self.pypid.ask(
                "POST", "/legacy/?password=s3cret", kind, body=sent.body[:-9], user="alice"
            )
        self.assertNotIn("s3cret", "\n".join([*events, *self.pypid.log]))
        self.assertNotIn(PASSWORDS["alice"], "\n".join([*events, *self.pypid.log]))


class OtherSiteTests(WholeCase):
    """A browser that remembers a password, and a page of somebody else's that it shows."""

    def test_nothing_is_changed(self) -> None:
        """What a page of another site makes a browser post changes nothing, though the password
        comes with it.
        """
        filename, _ = self.have_wheel("foo")
        for origin in (
            "https://evil.example",
            "null",
            f"https://{HOST}.evil.example",
            f"https://{HOST}:8443",
            "",
            HOST,
        ):
            header = ("Origin", origin)
            self.refused(
                self.publish(wheel_filename("bar"), wheel("bar"), headers=[header]),
                403,
                "another site",
            )
            for method, path in (
                ("POST", "/api/check"),
                ("POST", "/api/rebuild"),
                ("DELETE", "/api/projects/foo"),
                ("PUT", f"/api/projects/foo/files/{filename}/yank"),
            ):
                answer = self.pypid.ask(
                    method, path, header, ("Content-Type", "text/plain"), body=b"{}", user="ada"
                )
                self.refused(answer, 403, "another site")
        self.assertEqual(self.pypid.names(), ["foo"])
        self.assertIs(self.pypid.file_on("foo", filename)["yanked"], False)
        self.published(
            self.publish(
                wheel_filename("bar"), wheel("bar"), headers=[("Origin", f"https://{HOST.upper()}")]
            )
        )

    def test_reading(self) -> None:
        """Pages of other sites may read what everyone may."""
        self.assertEqual(
            self.pypid.get("/simple/", None, ("Origin", "https://pyodide.example")).status, 200
        )
