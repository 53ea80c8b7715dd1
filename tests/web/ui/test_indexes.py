"""What the pages below an index say about it, and the list of indexes on each page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from attrs import evolve

from pypid.core.permissions import Principals
from tests.distributions import wheel, wheel_filename
from tests.web.app_with_accounts import Peopled
from tests.web.full_app import RULES, Answer, Pypid, WholeCase, basic
from tests.web.ui.browsing import Browser

_SWITCHER = re.compile(r'<details class="indexes">.*?</details>', re.DOTALL)
_LINE = re.compile(r"<li><a[^>]*>([^<]*)</a>")


class IndexPagesCase(WholeCase):
    """``lab`` inherits from ``vault``, which alice alone may read, and from the default index."""

    def setUp(self) -> None:
        super().setUp()
        self.pypid = Pypid(Path(self.mktemp()), indexes=())
        self.have_index("vault", read="alice", write="alice")
        self.have_index("lab", bases="vault default", write="alice")
        filename, data = wheel_filename(), wheel()
        self.published(self.publish(filename, data, target="/lab/legacy/"))

    def page(self, path: str, user: str | None = "alice", status: int = 200) -> Answer:
        """A page, as a browser gets it."""
        answer = self.pypid.get(path, "text/html", user=user)
        self.assertEqual(answer.status, status, answer.text)
        return answer


class NameTests(IndexPagesCase):
    """In which index one is."""

    def test_bases_that_one_may_not_read(self) -> None:
        """The first page names the bases that the user may read, and no others."""
        self.assertIn('<a href="../vault/">vault</a>', self.page("/lab/").text)
        page = self.page("/lab/", "bob").text
        self.assertNotIn("vault", page)
        self.assertIn('<a href="../">default</a>', page)
        self.have_index("alone", bases="none")
        self.assertIn("only the projects that were published", self.page("/alone/").text)


class SwitcherTests(IndexPagesCase):
    """The list of indexes."""

    def listed(self, user: str | None, path: str = "/") -> Sequence[str]:
        """The lines of the list, if there is one."""
        found = _SWITCHER.search(self.page(path, user).text)
        return [] if found is None else _LINE.findall(found[0])

    def test_readable_ones(self) -> None:
        """The indexes are listed that the user may read."""
        self.assertEqual(self.listed("alice"), ["Default index", "lab", "vault"])
        for user in ("bob", None):
            self.assertEqual(self.listed(user), ["Default index", "lab"])
        self.pypid.api("DELETE", "/api/indexes/lab?force")
        self.assertEqual(self.listed("bob"), [])
        self.assertNotIn("vault", self.page("/", None).text)


class TokenTests(IndexPagesCase):
    """Tokens of a user who may publish in a named index only."""

    def setUp(self) -> None:
        super().setUp()
        self.pypid.app.rules = evolve(RULES, write=Principals())
        self.peopled = Peopled(self.pypid, Path(self.mktemp()))
        self.have_index("team", write="alice")
        self.alice = Browser(self.pypid)
        self.assertEqual(self.alice.log_in("alice").status, 303)

    def test_token_for_uploads(self) -> None:
        """The page offers the permission, and the token uploads to that index alone."""
        self.assertIn('value="publish"', self.alice.get("/account/").text)
        made = self.alice.post("/account/tokens", name="ci", actions="publish", expires="30d")
        self.assertEqual(made.status, 201, made.text)
        self.assertIn("URLs of the default index", made.text)
        secret = re.search('aria-label="The token"><code>([^<]+)', made.text)
        assert secret is not None
        filename, data = wheel_filename("eggs"), wheel("eggs")
        for index, status in (("/team", 200), ("", 403)):
            answer = self.publish(
                filename,
                data,
                target=f"{index}/legacy/",
                user=None,
                headers=[basic("__token__", secret[1])],
            )
            self.assertEqual(answer.status, status, answer.text)
