"""The OSV API: what is found, in which order, by whom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import evolve

from pypid.advisories.database import FILE
from pypid.advisories.service import Advisories
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Grants, Principals
from pypid.web.installers import services
from tests.web.advised import advise, advisory
from tests.web.full_app import RULES, Answer, WholeCase

SECRET = project_name("acme-secret")
BOBS = Grants(read=Principals(users=frozenset({"bob"})))
PUBLIC = (
    advisory("PYSEC-1", ("spam", "0", "1.5"), aliases=["CVE-2026-1"]),
    advisory("GHSA-2", ("spam", "1.2", None), ("ham", "0", "2")),
    advisory("PYSEC-3", ("spam", "0", None), withdrawn="2026-01-03T00:00:00Z"),
    advisory("MAL-4", ("acme-secret", "0", None)),
)
OWN = (
    advisory("ACME-1", ("acme-secret", "0", "3")),
    advisory("ACME-2", ("acme-secret", "0", "3"), ("spam", "0", "1.1"), summary="acme-secret!"),
)


class OsvTests(WholeCase):
    def setUp(self) -> None:
        super().setUp()
        self.pypid.app.rules = evolve(RULES, projects={SECRET: BOBS})
        advise(self.pypid, Path(self.mktemp()), PUBLIC, OWN)

    def post(self, path: str, document: object, user: str | None = None) -> Answer:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.pypid.ask("POST", f"/osv/v1/{path}", body=body, user=user)

    def query(self, name: str, version: str | None, user: str | None = None) -> Any:
        answer = self.post("query", asking(name, version), user)
        self.assertEqual((answer.status, answer["Content-Type"]), (200, "application/json"))
        return answer.json

    def ids(self, name: str, version: str | None, user: str | None = None) -> list[str]:
        return [record["id"] for record in self.query(name, version, user).get("vulns", ())]

    def test_pages(self) -> None:
        """Token by token a client gets all that a limit held back, each once."""
        for limit in ("MOST_FOUND", "LARGEST_ANSWER"):
            self.patch(services, limit, 1)
            found, token = [], ""
            for _ in range(9):
                document = {**asking("spam", "1.2"), "page_token": token}
                answer = self.post("query", document).json
                found += [record["id"] for record in answer["vulns"]]
                token = answer.get("next_page_token", "")
                if not token:
                    break
            self.assertEqual(found, ["GHSA-2", "PYSEC-1"])
        first = self.post("querybatch", {"queries": [asking("spam", "1.2")]}).json["results"][0]
        token = first["next_page_token"]
        again = {"queries": [{**asking("spam", "1.2"), "page_token": token}]}
        second = self.post("querybatch", again).json["results"][0]
        ids = [each["id"] for result in (first, second) for each in result["vulns"]]
        self.assertEqual((ids, "next_page_token" in second), (["GHSA-2", "PYSEC-1"], False))

    def test_work_of_a_batch_is_bounded(self) -> None:
        """Beyond the limit, queries get a token with which they can be asked again."""
        self.patch(services, "MOST_COMPARED", 1)
        queries = [asking("spam", "1.2"), asking("ham", "1")]
        results = self.post("querybatch", {"queries": queries}).json["results"]
        self.assertEqual([*map(len, results)], [1, 1])
        token = results[1]["next_page_token"]
        again = {"queries": [{**asking("ham", "1"), "page_token": token}]}
        [result] = self.post("querybatch", again).json["results"]
        self.assertEqual([each["id"] for each in result["vulns"]], ["GHSA-2"])

    def test_work_of_a_batch_does_not_show_private_advisories(self) -> None:
        """What a batch leaves for later depends on the advisories that the client may see alone."""
        self.patch(services, "MOST_COMPARED", 2)
        batch = {"queries": [asking("acme-secret", "1"), asking("ham", "1")]}
        for user, key in ((None, "vulns"), ("alice", "vulns"), ("bob", "next_page_token")):
            _, last = self.post("querybatch", batch, user).json["results"]
            self.assertEqual([*last], [key], user)

    def test_private_advisories(self) -> None:
        """They exist for those who may read their projects; public ones do not depend on what is
        here.
        """
        self.assertEqual(self.ids("acme-secret", "1"), ["MAL-4"])
        self.assertEqual(self.ids("acme-secret", "1", "bob"), ["ACME-1", "ACME-2", "MAL-4"])
        self.assertEqual(self.ids("acme-secret", "1", "ada"), ["ACME-1", "ACME-2", "MAL-4"])
        batch = {"queries": [asking("acme-secret", "1")]}
        for user, count in ((None, 1), ("alice", 1), ("bob", 3)):
            [result] = self.post("querybatch", batch, user).json["results"]
            self.assertEqual(len(result["vulns"]), count, user)

    def test_private_record(self) -> None:
        """One record of them is 404 for others, as one that does not exist."""
        answer = self.pypid.get("/osv/v1/vulns/ACME-1", user="bob")
        self.assertEqual((answer.status, answer.json), (200, OWN[0]))
        hidden = self.pypid.get("/osv/v1/vulns/ACME-1", user="alice")
        unknown = self.pypid.get("/osv/v1/vulns/ACME-9", user="alice")
        self.assertEqual(hidden.status, 404)
        self.assertEqual(hidden.text.replace("ACME-1", "ACME-9"), unknown.text)

    def test_private_record_of_several_projects(self) -> None:
        """The name of a project that the client may not read is in no answer."""
        for answer in (
            self.pypid.get("/osv/v1/vulns/ACME-2"),
            self.post("query", asking("spam", "1.0")),
            self.post("querybatch", {"queries": [asking("spam", "1.0")]}),
        ):
            self.assertEqual(answer.status, 200)
            self.assertIn("ACME-2", answer.text)
            self.assertNotIn("secret", answer.text)

    def test_unread_source(self) -> None:
        """Before the source was read once, no release is reported as one without advisories."""
        self.pypid.app.advisories = Advisories(self.pypid.world, Path(self.mktemp()))
        for answer in (
            self.post("query", asking("spam", "1.2")),
            self.post("querybatch", {"queries": [asking("spam", "1.2")]}),
        ):
            self.assertEqual((answer.status, answer["Retry-After"]), (503, "30"))

    def test_unreadable_database(self) -> None:
        """An advisory that is known but cannot be read is not left out: that would mean that the
        release has none.
        """
        folder = self.pypid.app.advisories.folder
        assert folder is not None
        (folder / FILE).write_bytes(b"damaged" * 1000)
        for answer in (
            self.post("query", asking("spam", "1.2")),
            self.pypid.get("/osv/v1/vulns/GHSA-2"),
        ):
            self.assertEqual((answer.status, answer["Retry-After"]), (503, "30"))
        self.flushLoggedErrors()

    def test_refused(self) -> None:
        """What is no query, or too much, is refused without work."""
        many = {"queries": [asking("spam", "1")] * 1001}
        for path, body, status in (
            ("query", b"", 400),
            ("query", b"[", 400),
            ("query", b'{"package": 1}', 400),
            ("query", b"{" * 16_000, 400),
            ("query", b" " * (17 << 10), 413),
            ("querybatch", b"\xff", 400),
            ("querybatch", json.dumps(many).encode(), 400),
            ("querybatch", {"queries": [{}]}, 400),
            ("querybatch", b" " * ((1 << 20) + 1), 413),
        ):
            self.assertEqual(self.post(path, body).status, status, (path, str(body)[:20]))


def asking(name: str, version: str | None) -> dict[str, Any]:
    """Return a query, as pip-audit spells it."""
    document: dict[str, Any] = {"package": {"name": name, "ecosystem": "PyPI"}}
    return document if version is None else {**document, "version": version}
