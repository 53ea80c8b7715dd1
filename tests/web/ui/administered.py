"""A whole pypid with accounts, another index behind it, and browsers of an administrator and of
somebody who is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

from pypid.core.configuration.choices import Mode
from pypid.core.policy import Policy
from tests.distributions import wheel, wheel_filename
from tests.web.app_with_accounts import Peopled
from tests.web.app_with_registration import OURS, cookie_of
from tests.web.full_app import PASSWORDS, Answer, Connection, Pypid, WholeCase, spelled
from tests.web.memory_upstream import Elsewhere

FORM = ("Content-Type", "application/x-www-form-urlencoded")
AS_PAGE = ("Accept", "text/html")
HAM = wheel_filename("ham")
NASTY = "<script>alert('x')</script>\"><b onmouseover=alert(1)>"
Header = tuple[str, str]


def unchunked(raw: bytes) -> tuple[str, dict[str, str], str]:
    """The status line, the head and the text of an answer that was sent in chunks, as far as it has
    come.
    """
    head, _, rest = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    data = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        data += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return first, {name.lower(): value for name, value in fields.items()}, data.decode()


class AdministeredCase(WholeCase):
    """``spam`` is ours; ``ham`` is upstream's, and its one file is kept."""

    policy = Policy(mode=Mode.CACHE)

    def setUp(self) -> None:
        super().setUp()
        self.upstream = Elsewhere()
        self.upstream.has("ham", HAM, wheel("ham"))
        self.pypid = Pypid(Path(self.mktemp()), policy=self.policy, upstream=self.upstream)
        self.have(self.pypid.catalog.complete())
        self.have_wheel("spam")
        self.assertEqual(self.pypid.get(f"/packages/ham/{HAM}").status, 200)
        self.peopled = Peopled(self.pypid, Path(self.mktemp()))
        self.browsers = {user: self.log_in(user) for user in ("ada", "bob")}

    def log_in(self, user: str) -> tuple[Header, str]:
        """The cookie of a new session, and its token against CSRF."""
        answer = self.pypid.api(
            "POST", "/api/session", {"user": user, "password": PASSWORDS[user]}, user=None
        )
        return cookie_of(answer), answer.json["csrf_token"]

    def look(self, target: str, user: str | None = "ada") -> Answer:
        """A page, as their browser gets it."""
        cookies = () if user is None else (self.browsers[user][0],)
        return self.pypid.ask("GET", target, AS_PAGE, *cookies)

    def page(self, target: str) -> str:
        """Its text, for an administrator."""
        answer = self.look(target)
        self.assertEqual(answer.status, 200, answer)
        return unescape(answer.text)

    def form(self, target: str, fields: Mapping[str, str], user: str = "ada") -> bytes:
        """The request that their browser makes of a form."""
        cookie, token = self.browsers[user]
        body = urlencode({"csrf_token": token, **fields}).encode()
        return spelled("POST", target, FORM, AS_PAGE, cookie, OURS, body=body)

    def send(self, target: str, user: str = "ada", **fields: str) -> Answer:
        """The answer to a form."""
        connection = self.pypid.connect()
        connection.send(self.form(target, fields, user))
        answer = connection.answer("POST")
        assert answer is not None
        return answer

    def begin(self, target: str, **fields: str) -> Connection:
        """A form of which the answer is written while something goes on."""
        connection = self.pypid.connect()
        connection.send(self.form(target, fields))
        return connection

    def done(self, target: str, **fields: str) -> str:
        """The whole page that came."""
        first, head, text = unchunked(self.begin(target, **fields).rest())
        self.assertEqual(first, "HTTP/1.1 200 OK")
        self.assertNotIn("content-encoding", head)
        self.assertEqual(head["x-accel-buffering"], "no")
        self.assertIn("script-src 'self'", head["content-security-policy"])
        self.assertTrue(text.rstrip().endswith("</html>"))
        return unescape(text)
