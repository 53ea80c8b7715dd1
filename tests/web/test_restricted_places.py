"""Places that collect releases from many pages: none shows a blocked release, or gives its bytes;
the page of its project says that it is blocked.
"""

from __future__ import annotations

from pypid.core.packaging.names import project_name
from pypid.core.restrictions import ProjectRestrictions, Restrictions
from tests.core.test_restrictions import VersionRule
from tests.web.installers.test_as_of import MomentsCase

SPAM = project_name("spam")
RULE = VersionRule(frozenset(["2.71"]))
PLACES = (
    "/api/news",
    "/api/search?q=spam",
    "/local/spam/",
    "/pypi/spam/json",
    "/rss/project/spam/releases.xml",
    "/rss/updates.xml",
    "/search?q=spam",
    "/simple/spam/",
    "/at/2026-01-03/simple/spam/",
)


class RestrictedPlacesTests(MomentsCase):
    """A project of which one release is blocked."""

    def setUp(self) -> None:
        super().setUp()
        self.restrictions = self.pypid.index.policy.restrictions
        self.patch(self.restrictions, "current", Restrictions())
        self.have_wheel("spam", "1.0")
        self.filename, _ = self.have_wheel("spam", "2.71")
        self.later(3)
        self.later(1)
        self.sha256 = self.have(self.pypid.index.file(SPAM, self.filename)).sha256 or ""

    def showing(self) -> list[str]:
        """The places that show the release."""
        found = []
        for path in PLACES:
            answer = self.pypid.get(path, user="alice")
            self.assertEqual(answer.status, 200, (path, answer))
            if b"2.71" in answer.body:
                found.append(path)
        return found

    def test_version(self) -> None:
        """Everywhere it is gone at once, and back at once."""
        self.assertEqual(self.showing(), list(PLACES))
        self.restrictions.replace("blocks", {SPAM: ProjectRestrictions((RULE,))})
        self.assertEqual(self.showing(), [])
        page = self.pypid.get("/project/spam/", user="alice").text
        self.assertIn("blocked", page.partition('id="versions"')[2])
        self.assertNotIn(self.filename, page)
        answer = self.pypid.get(f"/at/2026-01-03/packages/spam/{self.filename}")
        self.assertEqual(answer.status, 403, answer)
        self.restrictions.replace("blocks", {})
        self.assertEqual(self.showing(), list(PLACES))

    def test_digest(self) -> None:
        """So it is where the digest of its only file is blocked."""
        self.restrictions.replace("blocks", {}, {self.sha256: RULE})
        self.assertEqual(self.showing(), [])
