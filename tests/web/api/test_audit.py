"""The audit log and the downloads: that every change is in it, who may read it, and what it never
holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from attrs import evolve

from pypid.blobs.memory import MemoryBlobs
from pypid.blobs.signed_urls import Links
from pypid.core.accounts.rights import AuditEntry
from pypid.core.accounts.sessions import AccountSettings, csrf_token
from pypid.core.configuration.choices import Mode, Registration
from pypid.core.errors import StorageDown
from pypid.core.model import SignedUrl, as_stored
from pypid.core.packaging.names import project_name
from pypid.core.policy import Policy
from pypid.core.trust import Ratchet, TrustDocument, TrustRules
from pypid.daemon.logs import Threshold
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.index.file_cache_cases import listed as listed_file
from tests.index.local.test_tiering import Shelves
from tests.support.worlds import BEGINNING
from tests.web.api.test_exports import exported
from tests.web.api.test_users import PeopleCase
from tests.web.app_with_accounts import Peopled
from tests.web.full_app import PASSWORDS, Answer, Fragile, Pypid, WholeCase, basic, content, spelled
from tests.web.installers.test_collect import Scripted
from tests.web.memory_upstream import Elsewhere
from tests.web.routes import ALL_ROUTES

CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})

NO_DEED = {
    ("POST", "/_/oidc/mint-token"): "written down by access.oidc, where tokens are minted",
    ("POST", "/api/reload"): "wiring.reload writes it, for SIGHUP as well",
    ("POST", "/api/adopt/survey"): "it compares with upstream, and changes nothing",
    ("POST", "/api/import/survey"): "it compares with the index, and changes nothing",
    ("POST", "/osv/v1/query"): "it reads advisories, and changes nothing",
    ("POST", "/osv/v1/querybatch"): "the same",
    ("POST", "/api/advisories/check"): "it compares with the index, and changes nothing",
}
"""Routes of changing methods that leave no line of their own, and why."""


class EveryChangeTests(WholeCase):
    """A successful change by any route leaves a line."""

    def setUp(self) -> None:
        """A pypid with everything: another index behind it, storage classes, registration."""
        super().setUp()
        self.elsewhere = Elsewhere()
        for number in range(1, 6):
            self.elsewhere.has(
                "theirs", sdist_filename("theirs", f"{number}.0"), sdist("theirs", f"{number}.0")
            )
        self.elsewhere.has("more", wheel_filename("more"), wheel("more"))
        self.shelves = Shelves(lambda: BEGINNING)
        self.pypid = Pypid(
            Path(self.mktemp()),
            policy=Policy(mode=Mode.CACHE),
            upstream=self.elsewhere,
            blobs=cast(Fragile, self.shelves),
            storage_folder=Path("/srv/storage"),
            trust=TrustRules(ratchet=Ratchet.WARN),
            indexes=(),
        )
        resolver = Scripted({"more": [("more", "1.0")]})
        self.pypid.app.resolvers = resolver
        self.patch(self.pypid.index, "bucket", self.bucket)
        self.people = Peopled(self.pypid, Path(self.mktemp()))
        settings = AccountSettings(registration=Registration.TOKEN)
        self.pypid.app.settings = evolve(self.pypid.app.settings, people=settings)
        self.covered: set[tuple[str, str]] = set()

    async def bucket(self) -> Shelves:
        return self.shelves

    def leaves(self, method: str, rule: str, what: str, answer: Answer) -> Any:
        """The request went well, and one line tells of it; the answer's document."""
        self.assertIn(answer.status, (200, 201, 303), (method, rule, answer))
        self.covered.add((method, rule))
        deeds = self.deeds()[self.seen :]
        self.assertEqual([deed.what for deed in deeds], [what], (method, rule))
        self.assertTrue(deeds[0].who and deeds[0].subject)
        self.assertEqual(deeds[0].where, "192.0.2.7")
        self.seen += 1
        return json.loads(answer.body) if answer["content-type"] == "application/json" else None

    seen = 0

    def deeds(self) -> Sequence[AuditEntry]:
        """All lines of the log, the oldest first."""
        return self.people.deeds(most=1000)

    def api(
        self,
        what: str,
        method: str,
        rule: str,
        document: object = None,
        by: str = "ada",
        **values: str,
    ) -> Any:
        """One request of the JSON API, with the `values` in its address."""
        path = rule
        for name, value in values.items():
            path = path.replace(f"<{name}>", value)
        assert "<" not in path, path
        return self.leaves(method, rule, what, self.pypid.api(method, path, document, user=by))

    def by_form(
        self,
        what: str,
        rule: str,
        fields: dict[str, str],
        *headers: tuple[str, str],
        by: str = "ada",
        **values: str,
    ) -> Answer:
        """One form of a page, with the `values` in its address; `by` "" is whoever `headers` and
        `fields` say.
        """
        path = re.sub(r"<(\w+)>", lambda match: values[match[1]], rule)
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        answer = self.pypid.ask(
            "POST", path, kind, *headers, body=urlencode(fields).encode(), user=by or None
        )
        self.leaves("POST", rule, what, answer)
        return answer

    def fetch(self, number: int) -> None:
        """A file of theirs is kept."""
        answer = self.pypid.get(f"/packages/theirs/{sdist_filename('theirs', f'{number}.0')}")
        self.assertEqual(answer.status, 200)

    def test_all(self) -> None:
        """Every route of a changing method leaves a line when it has changed something; the
        exceptions stand in a list.
        """
        self.uploads()
        self.projects()
        self.cache()
        self.storage()
        self.accounts()
        self.pypiclouds()
        self.machine_pages()
        self.people_pages()
        changing = {
            (method, route.path) for route in ALL_ROUTES for method in route.methods & CHANGING
        }
        self.assertEqual(changing - self.covered, set(NO_DEED))

    def uploads(self) -> None:
        package = "/api/package/<project>/<filename>"
        filename, data = wheel_filename("spam", "0.5"), wheel("spam", "0.5")
        at = f"/api/package/spam/{filename}"
        self.leaves(
            "POST", package, "project publish", self.send_form([content(filename, data)], target=at)
        )
        self.assertEqual(self.send_form([content(filename, data)], target=at).status, 409)
        self.leaves("DELETE", package, "project delete", self.pypid.ask("DELETE", at, user="ada"))
        for number, target in enumerate(("/", "/simple/", "/legacy/", "/pypi/")):
            filename, data = wheel_filename("spam", f"{number}.0"), wheel("spam", f"{number}.0")
            self.leaves(
                "POST", target, "project publish", self.publish(filename, data, target=target)
            )
        again = self.publish(wheel_filename("spam", "1.0"), wheel("spam", "1.0"))
        self.assertEqual((again.status, len(self.deeds())), (200, self.seen))  # nothing has changed
        old = sdist_filename("spam", "4.0"), sdist("spam", "4.0")
        part = (f'name="sdist"; filename="{old[0]}"', old[1])
        self.leaves(
            "POST",
            "/uploadpackage/",
            "project publish",
            self.send_form([part], target="/uploadpackage/"),
        )
        imported = [content(wheel_filename("spam", "6.0"), wheel("spam", "6.0"))]
        for _ in range(2):  # nothing has changed by the second
            answer = self.send_form(imported, target="/api/import", user="ada")
        self.leaves("POST", "/api/import", "project import", answer)
        rule = "/packages/<python>/<letter>/<project>/<filename>"
        put = self.pypid.ask(
            "PUT",
            f"/packages/source/s/spam/{sdist_filename('spam', '5.0')}",
            body=sdist("spam", "5.0"),
            user="alice",
        )
        self.leaves("PUT", rule, "project publish", put)
        in_page = (f'name="file"; filename="{wheel_filename("eggs")}"', wheel("eggs"))
        self.leaves(
            "POST", "/upload", "project publish", self.send_form([in_page], target="/upload")
        )

    def projects(self) -> None:
        project = "/api/projects/<project>"
        file, release = f"{project}/files/<filename>", f"{project}/releases/<version>"
        one = {"project": "spam", "filename": wheel_filename("spam", "1.0")}
        self.api("project yank", "PUT", f"{file}/yank", {"reason": "bad"}, by="alice", **one)
        self.api("project unyank", "DELETE", f"{file}/yank", None, by="alice", **one)
        self.api(
            "project yank",
            "PUT",
            f"{release}/yank",
            None,
            by="alice",
            project="spam",
            version="2.0",
        )
        self.api(
            "project unyank",
            "DELETE",
            f"{release}/yank",
            None,
            by="alice",
            project="spam",
            version="2.0",
        )
        self.api(
            "project set-status",
            "PUT",
            f"{project}/status",
            {"status": "active", "reason": "x"},
            project="spam",
        )
        document = {"older_than": "0d", "keep": 0, "class": "GLACIER_IR"}
        self.pypid.clock.advance(10)
        self.api("storage tier", "POST", "/api/tier", document)
        self.pypid.api("POST", "/api/tier", {**document, "dry_run": True})
        self.assertEqual(len(self.deeds()), self.seen)  # nothing was moved
        self.api("project delete", "DELETE", file, None, **one)
        self.api("project delete", "DELETE", release, None, project="spam", version="2.0")
        self.api("project delete", "DELETE", project, None, project="spam")
        self.api("project unreserve", "DELETE", "/api/names/<project>", None, project="spam")
        site, one = "/project/<project>/-/", {"filename": wheel_filename("eggs")}
        self.by_form(
            "project yank", f"{site}yank", {**one, "reason": "bad"}, by="alice", project="eggs"
        )
        self.by_form("project unyank", f"{site}unyank", one, by="alice", project="eggs")
        self.by_form("project set-status", f"{site}status", {"status": "archived"}, project="eggs")
        self.by_form(
            "project delete",
            f"{site}delete",
            {"project": "eggs", "confirm": "eggs"},
            project="eggs",
        )
        self.by_form("project set-owner", f"{site}owner", {"user": "bob"}, project="eggs")
        self.by_form(
            "project unreserve", f"{site}release-name", {"confirm": "eggs"}, project="eggs"
        )

    def cache(self) -> None:
        answer = self.pypid.ask(
            "POST",
            "/requirements.txt",
            ("Content-Type", "application/json"),
            body=b'{"requirements": "more"}',
            user="bob",
        )
        self.leaves("POST", "/requirements.txt", "cache fetch", answer)
        for number in 1, 2, 3:
            self.fetch(number)
        self.assertEqual(len(self.deeds()), self.seen)  # what is downloaded is no change
        values = {"project": "theirs", "filename": sdist_filename("theirs", "1.0")}
        self.api("cache purge", "DELETE", "/api/cache/<project>/<filename>", None, **values)
        self.api("cache purge", "DELETE", "/api/cache/<project>", None, project="theirs")
        self.api("cache purge", "DELETE", "/api/cache")

    def storage(self) -> None:
        self.pypid.app.log_level_control = Threshold("info")
        self.api("log-level", "PUT", "/api/log-level", {"level": "debug"})
        self.api("block create", "POST", "/api/blocks", {"spec": "acme", "reason": "bad"})
        [block] = self.pypid.app.blocks.all
        self.api("block delete", "DELETE", "/api/blocks/<block>", None, block=block)
        self.trust()
        made = self.api("approval approve", "POST", "/api/approvals", {"spec": "theirs==5.0"})
        self.api(
            "approval delete", "DELETE", "/api/approvals/<approval>", None, approval=made["id"]
        )
        self.indexes()
        self.api("storage rebuild", "POST", "/api/rebuild")
        self.api("storage rebuild", "POST", "/api/rebuild/<project>", None, project="spam")
        self.api("storage import", "POST", "/api/adopt", {"folder": "/srv/storage"})
        self.api("storage check --sweep", "POST", "/api/check", {"sweep": True})
        self.pypid.app.exports = exported
        self.api("export", "POST", "/api/export", {"target": "/srv/index"})
        self.pypid.api("POST", "/api/check")
        self.assertEqual(len(self.deeds()), self.seen)  # only looked

    def indexes(self) -> None:
        """Named indexes, a promotion from one of them."""
        one = "/api/indexes/<index>"
        self.api("index create", "POST", "/api/indexes", {"name": "staging", "values": {}})
        self.api("index set", "PATCH", one, {"values": {"volatile": "yes"}}, index="staging")
        filename, data = wheel_filename("new"), wheel("new")
        uploaded = self.publish(filename, data, target="/staging/legacy/")
        self.leaves("POST", "/legacy/", "project publish", uploaded)
        wish = {"source": "staging", "releases": ["new==1.0"]}
        self.api("promote", "POST", f"{one}/promotions", wish, index="default")
        self.leaves(
            "POST",
            "/legacy/",
            "project publish",
            self.publish(wheel_filename("later"), wheel("later")),
        )
        form = {"version": "1.0", "target": "staging"}
        self.by_form("promote", "/project/<project>/-/promote", form, project="later")
        self.api("index delete", "DELETE", f"{one}?force", None, index="staging")
        self.covered.add(("DELETE", one))

    def trust(self) -> None:
        """Doubted files of an upstream project, approved by each way, and its publishers
        forgotten by each way.
        """
        known = TrustDocument("doubted", ("github:monty/spam",), BEGINNING)
        later = BEGINNING + timedelta(days=1)
        files = [
            as_stored(
                listed_file(version.encode(), f"doubted-{version}.tar.gz"),
                key=f"k{version}",
                uploaded=later,
            )
            for version in ("1.0", "1.1")
        ]
        name = project_name("doubted")
        self.have(self.pypid.catalog.complete())  # else the entry is looked up in the storage
        editing = self.pypid.catalog.upstream.edit(
            name, lambda entry: evolve(entry, kept=tuple(files))
        )
        self.have(editing)
        trust = self.pypid.index.source.trust
        assert trust is not None
        folder = trust.folder
        self.have(folder.put("doubted", known))
        approvals = "/api/trust/<project>/approvals"
        wish = {"files": [files[0].filename]}
        self.api("trust approve", "POST", approvals, wish, project="doubted")
        fields = {"project": "doubted", "filename": files[1].filename}
        self.by_form("trust approve", "/manage/trust", fields)
        self.by_form("trust reset", "/manage/trust", {"do": "reset", "project": "doubted"})
        self.have(folder.put("doubted", known))
        self.api("trust reset", "DELETE", "/api/trust/<project>", None, project="doubted")

    def rights_on_globs(self) -> None:
        many, one = "/api/rights/<glob>/<kind>", "/api/rights/<glob>/<kind>/<name>"
        for rule, values in (many, {"kind": "everyone"}), (one, {"kind": "user", "name": "bob"}):
            self.api("right grant", "PUT", rule, {"right": "r"}, glob="acme-*", **values)
            self.api("right revoke", "DELETE", rule, None, glob="acme-*", **values)
        said, page = {"kind": "user", "name": "bob"}, "/manage/rights/<glob>"
        self.by_form("right grant", page, {**said, "right": "r"}, glob="acme-*")
        gone = {**said, "do": "withdraw", "last": "yes"}
        self.by_form("right revoke", page, gone, glob="acme-*")

    def accounts(self) -> None:
        user, group, right = (
            "/api/users/<name>",
            "/api/groups/<name>",
            "/api/projects/<project>/rights/<kind>",
        )
        self.api("user create", "POST", "/api/users", {"name": "carol"})
        self.api("user set-admin", "PATCH", user, {"admin": True}, name="carol")
        self.api("user set-password", "PUT", f"{user}/password", None, name="carol")
        self.api("group create", "POST", "/api/groups", {"name": "devs"})
        self.api(
            "group add-user", "PUT", f"{group}/members/<user>", None, name="devs", user="carol"
        )
        self.api(
            "group remove-user",
            "DELETE",
            f"{group}/members/<user>",
            None,
            name="devs",
            user="carol",
        )
        self.api("group delete", "DELETE", group, None, name="devs")
        self.api("right grant", "PUT", right, {"right": "r"}, project="ham", kind="everyone")
        self.api("right revoke", "DELETE", right, None, project="ham", kind="everyone")
        self.api(
            "right grant",
            "PUT",
            f"{right}/<name>",
            {"right": "r"},
            project="ham",
            kind="user",
            name="bob",
        )
        self.api(
            "right revoke",
            "DELETE",
            f"{right}/<name>",
            None,
            project="ham",
            kind="user",
            name="bob",
        )
        self.rights_on_globs()
        owner = "/api/projects/<project>/owner"
        self.api("project set-owner", "PUT", owner, {"user": "carol"}, project="ham")
        self.api("project set-owner", "DELETE", owner, None, project="ham")
        token = self.api("token create", "POST", "/api/tokens", {"name": "x", "actions": ["read"]})
        self.api("token delete", "DELETE", "/api/tokens/<id>", None, id=token["id"])
        self.api("user delete", "DELETE", user, None, name="carol")
        first, second = (
            self.api("invitation create", "POST", "/api/invitations", {}) for _ in range(2)
        )
        self.api("invitation delete", "DELETE", "/api/invitations/<id>", None, id=second["id"])
        applicant = json.dumps(
            {"user": "frida", "password": "long enough", "token": first["secret"]}
        ).encode()
        self.leaves(
            "POST",
            "/api/register",
            "user register",
            self.pypid.ask("POST", "/api/register", body=applicant),
        )
        login = json.dumps({"user": "alice", "password": PASSWORDS["alice"]}).encode()
        answer = self.pypid.ask("POST", "/api/session", body=login)
        session = self.leaves("POST", "/api/session", "user log-in", answer)
        cookie = ("Cookie", (answer["set-cookie"] or "").split(";")[0])
        ended = self.pypid.ask(
            "DELETE", "/api/session", cookie, ("X-CSRF-Token", session["csrf_token"])
        )
        self.leaves("DELETE", "/api/session", "user log-out", ended)

    def machine_pages(self) -> None:
        self.pypid.app.log_level_control = Threshold("info")
        self.by_form("log-level", "/manage/log-level", {"level": "debug"})
        block = {"spec": "evil", "reason": "bad", "confirm": "evil"}
        self.by_form("block create", "/manage/blocks", block)
        (id,) = (each for each in self.pypid.app.blocks.all if each.startswith("evil-"))
        self.by_form("block delete", "/manage/blocks", {"id": id, "confirm": id})
        self.by_form("approval deny", "/manage/approvals", {"spec": "evil", "verdict": "denied"})
        (id,) = self.pypid.app.approvals.decisions.all
        self.by_form("approval delete", "/manage/approvals", {"id": id})
        self.by_form("index create", "/manage/indexes", {"name": "team"})
        index = "/manage/indexes/<name>"
        self.by_form("index set", index, {"read": "alice"}, name="team")
        self.by_form("index delete", index, {"do": "delete", "confirm": "team"}, name="team")
        self.fetch(4)
        self.in_pieces(
            "cache purge", "/manage/upstream/purge", {"what": "project", "project": "theirs"}
        )
        self.in_pieces("storage rebuild", "/manage/rebuild", {})
        self.in_pieces(
            "storage check --sweep", "/manage/check", {"sweep": "yes", "confirm": "sweep"}
        )
        self.in_pieces(None, "/manage/check", {})  # only looked

    def in_pieces(self, what: str | None, path: str, fields: dict[str, str]) -> None:
        """A form whose answer is written while it is carried out."""
        connection, body = self.pypid.connect(), urlencode(fields).encode()
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        connection.send(spelled("POST", path, kind, basic("ada"), body=body))
        self.assertTrue(connection.rest().startswith(b"HTTP/1.1 200 OK"))
        self.assertEqual(
            [deed.what for deed in self.deeds()[self.seen :]], [what] if what else [], path
        )
        self.seen += 1 if what else 0
        self.covered.add(("POST", path))

    def people_pages(self) -> None:
        user, group, rights = (
            "/manage/users/<name>",
            "/manage/groups/<name>",
            "/project/<project>/-/rights",
        )
        nina = "nina's long one"
        self.by_form("user create", "/manage/users", {"name": "nina", "password": nina})
        self.by_form("user set-admin", user, {"admin": "yes"}, name="nina")
        fields = {"do": "set-password", "password": nina}
        self.by_form("user set-password", user, fields, name="nina")
        self.by_form("group create", "/manage/groups", {"name": "crew"})
        self.by_form("group add-user", group, {"user": "nina"}, name="crew")
        self.by_form("group remove-user", group, {"do": "leave", "user": "nina"}, name="crew")
        self.by_form("group delete", group, {"do": "remove", "confirm": "crew"}, name="crew")
        self.by_form(
            "right grant", rights, {"kind": "user", "name": "bob", "right": "r"}, project="ham"
        )
        self.by_form(
            "right revoke",
            rights,
            {"kind": "user", "name": "bob", "do": "withdraw", "last": "yes"},
            project="ham",
        )
        self.by_form(
            "project set-owner", "/project/<project>/-/owner", {"user": "nina"}, project="ham"
        )
        for path, by in (("/account/tokens", "alice"), ("/manage/tokens/revoke", "ada")):
            said = {"name": "x", "actions": "read", "expires": "30d"}
            self.by_form("token create", "/account/tokens", said, by="alice")
            token = self.deeds()[-1].subject
            self.by_form("token delete", path, {"id": token}, by=by)
        self.by_form("invitation create", "/manage/invitations", {})
        made = self.deeds()[-1].subject
        self.by_form("invitation delete", "/manage/invitations", {"id": made})
        invitation = self.api("invitation create", "POST", "/api/invitations", {})["secret"]
        olga = {
            "user": "olga",
            "password": "long enough",
            "again": "long enough",
            "token": invitation,
        }
        self.by_form("user register", "/account/register", olga, by="")
        answer = self.by_form(
            "user log-in", "/account/login", {"user": "nina", "password": nina}, by=""
        )
        cookie, secret = self.session_of(answer)
        self.by_form(
            "user log-out", "/account/logout", {"csrf_token": csrf_token(secret)}, cookie, by=""
        )
        answer = self.by_form(
            "user log-in", "/account/login", {"user": "nina", "password": nina}, by=""
        )
        cookie, secret = self.session_of(answer)
        said = {
            "csrf_token": csrf_token(secret),
            "current": nina,
            "password": "another one",
            "again": "another one",
        }
        self.by_form("user set-password", "/account/password", said, cookie, by="")
        self.by_form("user delete", user, {"do": "remove", "confirm": "nina"}, name="nina")

    def session_of(self, answer: Answer) -> tuple[tuple[str, str], str]:
        """The cookie that came with it, as a header, and its secret."""
        pair = (answer["set-cookie"] or "").split(";")[0]
        return ("Cookie", pair), pair.partition("=")[2]

    def pypiclouds(self) -> None:
        self.api(
            "user import",
            "POST",
            "/api/acl",
            {"users": [{"username": "ivy", "password": "$6$x"}]},
        )
        for method, rule, said in (
            ("PUT", "/api/user/<name>", {}),
            ("PUT", "/acct/login", {"username": "kim"}),
        ):
            invitation = self.api("invitation create", "POST", "/api/invitations", {})["secret"]
            body = json.dumps({**said, "password": "long enough", "token": invitation}).encode()
            self.leaves(
                method,
                rule,
                "user register",
                self.pypid.ask(method, rule.replace("<name>", "jim"), body=body),
            )
        by_kim = basic("kim", "long enough")
        body = json.dumps(
            {"old_password": "long enough", "new_password": "longer than that"}
        ).encode()
        changed = self.pypid.ask("POST", "/api/user/password", by_kim, body=body)
        self.leaves("POST", "/api/user/password", "user set-password", changed)
        body = json.dumps({"username": "kim", "password": "longer than that"}).encode()
        answer = self.pypid.ask("POST", "/acct/login", body=body)
        token = self.leaves("POST", "/acct/login", "user log-in", answer)["csrf_token"]
        cookie = ("Cookie", (answer["set-cookie"] or "").split(";")[0])
        self.assertEqual(
            self.pypid.ask("POST", "/acct/logout", cookie, ("X-CSRF-Token", token)).status, 302
        )
        self.assertEqual([deed.what for deed in self.deeds()[self.seen :]], ["user log-out"])
        self.seen += 1
        self.covered.add(("POST", "/acct/logout"))


class LogTests(PeopleCase):
    """What the log holds, and who may read it."""

    def log(self, query: str = "") -> Any:
        """The answer's document."""
        answer = self.pypid.api("GET", f"/api/audit{query}")
        self.assertEqual(answer.status, 200, answer)
        return answer.json

    def test_read(self) -> None:
        """The newest first, by who, what and subject, in pieces that follow one another."""
        for name in ("carol", "erin", "frank"):
            self.add(name)
        self.pypid.api("PATCH", "/api/users/erin", {"admin": True})
        self.by("erin", "POST", "/api/groups", {"name": "devs"})
        subjects = ["devs", "erin", "frank", "erin", "carol"]
        self.assertEqual([deed["subject"] for deed in self.log()["entries"]], subjects)
        self.assertEqual(
            [deed["action"] for deed in self.log("?who=erin")["entries"]], ["group create"]
        )
        self.assertEqual(len(self.log("?action=user%20create&subject=erin")["entries"]), 1)
        found: list[str] = []
        page = self.log("?most=2")
        while page["entries"]:
            found += [deed["subject"] for deed in page["entries"]]
            page = (
                {"entries": []}
                if page["before"] is None
                else self.log(f"?most=2&before={page['before']}")
            )
        self.assertEqual(found, subjects)
        deed = self.log("?who=erin")["entries"][0]
        self.assertEqual(
            (deed["when"], deed["address"], deed["token"]),
            ("2026-01-01T00:00:01.500000Z", "192.0.2.7", None),
        )

    def test_broken_off(self) -> None:
        """A deletion that breaks off in the storage is written down as such, for a part of it may
        have been done.
        """
        filename, _ = self.have_wheel("spam")
        self.pypid.blobs.away = StorageDown("it is away.")
        self.assertEqual(
            self.pypid.api("DELETE", f"/api/projects/spam/files/{filename}").status, 503
        )
        deed = self.people.deeds()[-1]
        self.assertEqual((deed.what, deed.subject), ("project delete", f"spam/{filename}"))
        self.assertIn("it is away", deed.details["broke-off"])


class DownloadTests(PeopleCase):
    """Who was given a file."""

    def test_blocked(self) -> None:
        """Administrators see who has a blocked file, and who was refused it since; the files of
        other projects, and other versions, are left out.
        """
        self.have_wheel("spam", "2.0")
        self.have_wheel("eggs")
        for name, version in (("spam", "1.0"), ("spam", "2.0"), ("eggs", "1.0")):
            self.pypid.get(f"/packages/{name}/{wheel_filename(name, version)}", user="bob")
        made = self.pypid.api("POST", "/api/blocks", {"spec": "spam==1.0", "reason": "bad"})
        digest = self.have(
            self.pypid.index.file(project_name("eggs"), wheel_filename("eggs"))
        ).sha256
        self.pypid.api("POST", "/api/blocks", {"spec": f"sha256:{digest}", "reason": "bad"})
        self.pypid.get(f"/packages/spam/{self.filename}", user="alice")

        def told(query: str) -> tuple[set[str], list[tuple[str, str, str]]]:
            answer = self.pypid.api("GET", f"/api/downloads?blocked{query}").json
            refused = [
                (each["user"], each["filename"], each["block"]) for each in answer["refused"]
            ]
            return {each["filename"] for each in answer["downloads"]}, refused

        refused = [("alice", self.filename, made.json["id"])]
        self.assertEqual(told(""), ({self.filename, wheel_filename("eggs")}, refused))
        self.assertEqual(told("&project=Spam"), ({self.filename}, refused))
        self.assertEqual(told("&project=eggs"), ({wheel_filename("eggs")}, []))
        for query in ("&version=1.0", "&filename=x", "=maybe", f"&sha256={'0' * 64}"):
            answer = self.pypid.api("GET", f"/api/downloads?blocked{query}")
            self.assertEqual(answer.status, 400, query)
        answer = self.pypid.api("GET", "/api/downloads?blocked", user="alice")
        self.assertEqual(answer.status, 403)

    def setUp(self) -> None:
        super().setUp()
        self.filename, self.data = self.have_wheel("spam")
        self.sha256 = sha256(self.data).hexdigest()

    def told(self) -> list[tuple[str, str | None, str]]:
        """Who, by which token, and which file; the oldest first."""
        answer = self.pypid.api("GET", f"/api/downloads?sha256={self.sha256}")
        self.assertEqual(answer.status, 200, answer)
        return [
            (line["user"], line["token"], line["filename"]) for line in answer.json["downloads"]
        ][::-1]

    def test_given(self) -> None:
        """Each GET of the file is one, whole or in part, by whichever address, with the user and
        the token.
        """
        token = self.pypid.api(
            "POST", "/api/tokens", {"name": "x", "actions": ["read"]}, user="alice"
        ).json
        path = f"/packages/spam/{self.filename}"
        self.pypid.get(path)
        self.pypid.get(path, user="bob")
        self.pypid.get(path, None, ("Authorization", f"Bearer {token['secret']}"))
        self.pypid.get(path, None, ("Range", "bytes=1-"))
        self.pypid.get(f"/local/spam/{self.filename}", user="bob")
        self.pypid.get(f"/packages/py3/s/spam/{self.filename}", user="bob")
        users = [
            ("anonymous", None),
            ("bob", None),
            ("alice", token["id"]),
            ("anonymous", None),
            ("bob", None),
            ("bob", None),
        ]
        self.assertEqual(self.told(), [(*user, self.filename) for user in users])
        line = self.pypid.api("GET", f"/api/downloads?sha256={self.sha256.upper()}&most=1").json[
            "downloads"
        ][0]
        self.assertEqual(
            (line["address"], line["project"], line["when"]),
            ("192.0.2.7", "spam", "2026-01-01T00:00:01.500000Z"),
        )

    def test_not_given(self) -> None:
        """HEAD, what did not change, what may not be read, metadata and pages are no downloads."""
        path = f"/packages/spam/{self.filename}"
        tag = self.pypid.ask("HEAD", path)["etag"]
        assert tag is not None
        self.assertEqual(self.pypid.get(path, None, ("If-None-Match", tag)).status, 304)
        self.assertEqual(self.pypid.get(path, None, ("Range", "bytes=99999999-")).status, 416)
        self.assertEqual(self.pypid.get(f"{path}.metadata").status, 200)
        self.pypid.api("PUT", "/api/projects/spam/rights/user/alice", {"right": "r"})
        self.assertEqual(self.pypid.get(path, user="bob").status, 403)
        self.assertEqual(self.told(), [])

    def test_sent_elsewhere(self) -> None:
        """Whoever is sent to a signed URL was given the file."""

        async def link(key: str, lifetime: timedelta, filename: str | None = None) -> SignedUrl:
            return SignedUrl("https://bucket.example/x", self.pypid.world.now() + lifetime)

        self.patch(MemoryBlobs, "link", staticmethod(link))
        links = Links(self.pypid.blobs, self.pypid.world, timedelta(hours=1), timedelta(minutes=5))
        reader = self.pypid.index.reader
        self.patch(self.pypid.index, "reader", evolve(reader, links=links))
        answer = self.pypid.get(f"/packages/spam/{self.filename}", user="bob")
        self.assertEqual((answer.status, answer["location"]), (302, "https://bucket.example/x"))
        self.assertEqual(self.told(), [("bob", None, self.filename)])

    def test_theirs(self) -> None:
        """A file of theirs is one, kept on the way or where they are sent to the other index; a
        page of it is none.
        """
        for mode in Mode.CACHE, Mode.REDIRECT:
            elsewhere, filename, data = Elsewhere(), sdist_filename("ham"), sdist("ham")
            elsewhere.has("ham", filename, data)
            pypid = Pypid(Path(self.mktemp()), policy=Policy(mode=mode), upstream=elsewhere)
            people = Peopled(pypid, Path(self.mktemp()))
            pypid.get("/simple/ham/", user="bob")
            answer = pypid.get(f"/packages/ham/{filename}", user="bob")
            self.assertEqual(answer.status, 200 if mode is Mode.CACHE else 302)
            [line] = self.have(people.downloads.of(sha256(data).hexdigest()))
            self.assertEqual((line.who, line.project, line.filename), ("bob", "ham", filename))
