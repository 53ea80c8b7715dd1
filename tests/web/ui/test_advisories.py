"""Advisories on pages: the list, the project pages, and the filter of the search."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from pypid.core.packaging.names import project_name
from pypid.core.permissions import Grants, Principals
from tests.web.advised import advise, advisory
from tests.web.full_app import RULES, Answer, WholeCase

SECRET = project_name("acme-secret")
BOBS = Grants(read=Principals(users=frozenset({"bob"})))
PUBLIC = (
    advisory("PYSEC-1", ("spam", "0", "1.5"), summary="<script>alert(1)</script>"),
    advisory("GHSA-2", ("spam", "0", "9"), database_specific={"severity": "CRITICAL"}),
    advisory("MAL-3", ("acme-secret", "0", None)),
)
OWN = (advisory("ACME-1", ("acme-secret", "0", "3"), ("spam", "0", "1.1"), summary="acme-secret!"),)


class AdvisoryPageTests(WholeCase):
    def setUp(self) -> None:
        super().setUp()
        for name, version in (("spam", "1.0"), ("spam", "2.0"), ("eggs", "1"), (SECRET, "1.0")):
            self.have_wheel(name, version)
        self.pypid.app.rules = evolve(RULES, projects={SECRET: BOBS})
        advise(self.pypid, Path(self.mktemp()), PUBLIC, OWN)

    def page(self, path: str, user: str | None = None, status: int = 200) -> str:
        answer: Answer = self.pypid.get(path, "text/html", user=user)
        self.assertEqual(answer.status, status, answer)
        return answer.text

    def test_list(self) -> None:
        """The advisories that hit stored files, the worst first, with links; texts are text."""
        text = self.page("/advisories")
        self.assertIn("3 advisories for files", text)
        self.assertIn('href="./advisories/PYSEC-1"', text)
        self.assertIn('href="./project/spam/1.0/"', text)
        self.assertIn("&lt;script&gt;alert(1)", text)
        self.assertLess(text.index("GHSA-2"), text.index("PYSEC-1"))

    def test_project_page(self) -> None:
        """A release names the advisories that hit it, with a mark at its head; others do not."""
        text = self.page("/project/spam/1.0/")
        self.assertIn("3 advisories affect this release", text)
        self.assertIn("Fixed in 1.5.", text)
        self.assertIn("&lt;script&gt;alert(1)", text)
        self.assertNotIn("secret", text)
        self.assertIn("1 advisory affects this release", self.page("/project/spam/2.0/"))
        self.assertNotIn("advisor", self.page("/project/eggs/").replace('"../../advisories"', ""))

    def test_one(self) -> None:
        """The page of an advisory has its texts, ranges and links, and the releases here."""
        details = "It logs **tokens**.\n\n<script>alert(2)</script>"
        links = [
            "https://example.org/fix?a=1&b=2",
            "javascript:alert(3)",
            "https://u@evil.example/",
        ]
        document = advisory(
            *("GHSA-7", ("spam", "1.0", "1.5"), ("elsewhere", "0", None)),
            summary="<script>alert(1)</script>",
            details=details,
            aliases=["CVE-2026-7"],
            references=[{"type": "WEB", "url": url} for url in links],
        )
        odd = advisory("ODD-1", ("eggs", "0", None), references=7, withdrawn="2026-01-03T00:00:00Z")
        advise(self.pypid, Path(self.mktemp()), (document, odd))
        text = self.page("/advisories/GHSA-7")
        for each in ("CVE-2026-7", "&gt;=1.0, &lt;1.5", "all versions", "no version", "elsewhere"):
            self.assertIn(each, text)
        self.assertIn('href="../project/spam/1.0/"', text)
        self.assertNotIn("project/spam/2.0", text)
        self.assertIn('href="https://example.org/fix?a=1&amp;b=2"', text)
        self.assertIn('href="../osv/v1/vulns/GHSA-7"', text)
        for each in ("<script>alert", "javascript:", "evil.example"):
            self.assertNotIn(each, text)
        self.assertIn("was withdrawn", self.page("/advisories/ODD-1"))
        self.assertIn("There is no advisory", self.page("/advisories/GHSA-8", status=404))

    def test_one_private(self) -> None:
        """A private advisory is there for those who may read a project of it, without the text
        that may name another one; malware names no release that the user may not read.
        """
        for user in None, "alice":
            text = self.page("/advisories/ACME-1", user)
            self.assertIn("spam", text)
            self.assertNotIn("secret", text)
            self.assertIn(">private<", text)
        self.assertNotIn("project/acme-secret", self.page("/advisories/MAL-3"))
        self.assertIn("acme-secret!", self.page("/advisories/ACME-1", "ada"))
        self.assertIn("project/acme-secret/1.0/", self.page("/advisories/MAL-3", "bob"))
        own = (advisory("ACME-2", ("acme-secret", "0", None)),)
        advise(self.pypid, Path(self.mktemp()), PUBLIC, own)
        for user, status in ((None, 404), ("alice", 404), ("bob", 200), ("ada", 200)):
            self.page("/advisories/ACME-2", user, status)
