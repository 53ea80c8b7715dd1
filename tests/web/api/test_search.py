"""``GET /api/search``: what is found, in JSON, for whoever asks."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from pypid.core.permissions import Grants, Principals, Rules
from tests.distributions import metadata
from tests.web.full_app import RULES, WholeCase

BOBS = Grants(read=Principals(users=frozenset({"bob"})))


class SearchingCase(WholeCase):
    """A pypid with three projects, of which bob alone may read one."""

    def setUp(self) -> None:
        super().setUp()
        self.have(self.pypid.catalog.complete())
        for name, keywords, summary in (
            ("spam", "food, breakfast", "Lovely <b>spam</b>"),
            ("spam-secret", "food", "Nobody knows"),
            ("eggs", "food", "With \x1b[31mcolour"),
        ):
            self.pypid.clock.advance(60)
            said = metadata(
                name, summary=summary, extra=[("Keywords", keywords), ("License-Expression", "MIT")]
            )
            self.have_wheel(name, metadata_bytes=said)
        self.pypid.app.rules = Rules(write=RULES.write, projects={"spam-secret": BOBS})  # type: ignore[dict-item]

    def search(self, user: str | None = None, **asked: object) -> dict[str, Any]:
        """The answer."""
        answer = self.pypid.get(f"/api/search?{urlencode(asked)}", user=user)
        self.assertEqual(answer.status, 200, answer)
        document: dict[str, Any] = answer.json
        return document

    def names(self, user: str | None = None, **asked: object) -> list[str]:
        """The names of what is found."""
        return [each["name"] for each in self.search(user, **asked)["found"]]


class SearchingTests(SearchingCase):
    """The route."""

    def test_at_once(self) -> None:
        """What was published, yanked or deleted a moment ago is so in the next answer."""
        self.have_wheel("toast", "1.0")
        self.assertEqual(self.names(q="toast"), ["toast"])
        self.pypid.api("DELETE", "/api/projects/toast")
        self.assertEqual([each["version"] for each in self.search(q="toast")["found"]], [""])
