"""The access log."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import Request

from pypid.core.permissions import Identity
from pypid.web.http.access_log import AccessLog, escaped, path_of
from pypid.web.http.response_body import write
from tests.web.memory_site import Talk

NOW = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)


class AccessLogTests(SynchronousTestCase):
    def logged(self, request: bytes, *, user: str | None = "alice") -> str:
        """The line that is logged for the request."""
        lines: list[str] = []

        def observe(event: dict[str, object]) -> None:
            if event.get("log_namespace") == AccessLog._log.namespace:
                lines.append(str(event["log_format"]).format(**event))

        async def respond(asked: Request) -> None:
            asked.identity = Identity(user)  # type: ignore[attr-defined]
            asked.begun_at = talk.clock.seconds()  # type: ignore[attr-defined]
            asked.id = "k3x5qa00002f"  # type: ignore[attr-defined]
            talk.clock.advance(0.0123)
            asked.setHeader(b"Content-Length", b"5")
            write(asked, b"hello")

        talk = Talk(respond)
        talk.transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.7", 4711))
        talk.channel.makeConnection(talk.transport)
        talk.site.log = AccessLog(lambda: NOW, talk.clock.seconds)
        globalLogPublisher.addObserver(observe)
        try:
            talk.channel.dataReceived(request)
        finally:
            globalLogPublisher.removeObserver(observe)
        self.assertEqual(len(lines), 1)
        return lines[0]

    def test_no_secrets(self) -> None:
        """Queries, passwords in URLs, Authorization and Referer are not logged (C95)."""
        request = (
            b"GET http://bob:hunter2@host/f?token=hunter2#hunter2 HTTP/1.1\r\nHost: x\r\n"
            b"Authorization: Basic hunter2\r\nReferer: http://x/?hunter2\r\nCookie: hunter2\r\n\r\n"
        )
        self.assertNotIn("hunter2", self.logged(request))

    def test_no_forged_lines(self) -> None:
        """What a client sends makes no line's end, no quote and no terminal code."""
        request = b'GET /a"b\x85{user} HTTP/1.1\r\nHost: x\r\nUser-Agent: x"\\\x9b0;y\r\n\r\n'
        line = self.logged(request, user="al ice\n\u202e")
        self.assertIn(r'"GET /a\"b\x85{user} HTTP/1.1"', line)
        self.assertIn(r'"x\"\\\x9b0;y"', line)
        self.assertIn(r" - al\x20ice\x0a\u202e [", line)
        self.assertTrue(line.isascii() and line.isprintable())

    @settings(max_examples=50, deadline=None, database=None)
    @given(st.text(max_size=40), st.binary(max_size=60))
    def test_hostile(self, text: str, target: bytes) -> None:
        """Any text is escaped to printable ASCII, and a path holds no query."""
        shown = escaped(text)
        self.assertTrue(shown.isascii() and (shown.isprintable() or not shown))
        self.assertNotIn('"', re.sub(r"\\.", "", shown))  # none that is not escaped
        self.assertFalse(set("?#") & set(path_of(target)))
