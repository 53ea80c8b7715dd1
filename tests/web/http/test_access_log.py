"""The access log."""

from __future__ import annotations

import json
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
from pypid.web.http.access_log import (
    AccessLog,
    AccessLogEntry,
    LogClient,
    Many,
    SharedLogFields,
    escaped,
    path_of,
)
from pypid.web.http.response_body import write
from tests.web.memory_site import Talk

NOW = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)


class AccessLogTests(SynchronousTestCase):
    def logged(self, request: bytes, *, as_json: bool = False, user: str | None = "alice") -> str:
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
        talk.site.log = AccessLog(lambda: NOW, talk.clock.seconds, json=as_json)
        globalLogPublisher.addObserver(observe)
        try:
            talk.channel.dataReceived(request)
        finally:
            globalLogPublisher.removeObserver(observe)
        self.assertEqual(len(lines), 1)
        return lines[0]

    def test_text(self) -> None:
        """A line is that of the combined log format, with the milliseconds and the id of the
        request behind it.
        """
        line = self.logged(b"GET /simple/foo/ HTTP/1.1\r\nHost: x\r\nUser-Agent: pip/26.3\r\n\r\n")
        self.assertEqual(
            line,
            (
                '192.0.2.7 - alice [01/Mar/2026:12:30:15 +0000] "GET /simple/foo/ HTTP/1.1" 200 5 '
                '"-" "pip/26.3" 12.3 k3x5qa00002f'
            ),
        )

    def test_monitors(self) -> None:
        """What only tells a monitor that all is well is written at the level debug: some ask twice
        a second.
        """
        levels = []
        log = AccessLog(lambda: NOW, lambda: 0.0)

        def observe(event: dict[str, object]) -> None:
            if event.get("log_namespace") == AccessLog._log.namespace:
                levels.append(str(event["log_level"]).partition("=")[2].rstrip(">"))

        globalLogPublisher.addObserver(observe)
        try:
            for path, status in (
                ("/ready", 200),
                ("/health", 200),
                ("/ready", 503),
                ("/healthy/", 200),
            ):
                log.write(
                    AccessLogEntry(
                        time="",
                        client=None,
                        user=None,
                        method="GET",
                        path=path,
                        protocol="HTTP/1.1",
                        status=status,
                        size=0,
                        milliseconds=None,
                        agent="",
                    )
                )
        finally:
            globalLogPublisher.removeObserver(observe)
        self.assertEqual(levels, ["debug", "debug", "info", "info"])

    def test_json(self) -> None:
        """As JSON, the same is one object on one line."""
        line = self.logged(
            b'HEAD /f HTTP/1.1\r\nHost: x\r\nUser-Agent: a"b\\\xe9\r\n\r\n', as_json=True, user=None
        )
        expected = {"time": "2026-03-01T12:30:15+00:00", "client": "192.0.2.7", "user": None, "method": "HEAD", "path": "/f",
                    "protocol": "HTTP/1.1", "status": 200, "size": 0, "milliseconds": 12.3, "agent": 'a"b\\\u00e9',
                    "id": "k3x5qa00002f"}  # fmt: skip
        self.assertEqual(json.loads(line), expected)

    def test_same_in_both(self) -> None:
        """All that JSON says stands in the text, too, and in the order of the fields but for the
        time.
        """
        request = b"GET /simple/foo/ HTTP/1.1\r\nHost: x\r\nUser-Agent: pip/26.3\r\n\r\n"
        text, said = self.logged(request), json.loads(self.logged(request, as_json=True))
        told = re.fullmatch(
            r'(?P<client>\S+) - (?P<user>\S+) \[.+\] "(?P<method>\S+) (?P<path>\S+) (?P<protocol>\S+)" (?P<status>\d+) '
            r'(?P<size>\d+) "-" "(?P<agent>[^"]*)" (?P<milliseconds>[\d.]+) (?P<id>\S+)',
            text,
        )
        assert told is not None, text
        del said["time"]
        self.assertEqual(told.groupdict(), {name: str(value) for name, value in said.items()})

    def test_details_of_installers(self) -> None:
        """Of the JSON that installers append to their names the text has the Python; JSON has all
        of it.
        """
        details = (
            ' {"ci":null,"cpu":"x86_64","distro":{"id":"bookworm","libc":{"lib":"glibc"}},'
            '"implementation":{"name":"CPython","version":"3.11.2"},"installer":{"name":"p'
        )
        for agent, shown in (
            (f"pip/24.0{details}", "pip/24.0 cpython/3.11.2"),
            (f"uv/0.9.7{details}", "uv/0.9.7 cpython/3.11.2"),
            ('pip/24.0 {"ci":true', "pip/24.0"),
            ("twine/6.2.0 requests/2.32.5 CPython/3.11.2", None),
            ("Mozilla/5.0 (X11; Linux x86_64) {x}", "Mozilla/5.0 (X11; Linux x86_64)"),
        ):
            request = f"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: {agent}\r\n\r\n".encode()
            self.assertIn(f'"-" "{shown or agent}" ', self.logged(request))
            self.assertEqual(json.loads(self.logged(request, as_json=True))["agent"], agent)

    def test_no_secrets(self) -> None:
        """Queries, passwords in URLs, Authorization and Referer are not logged (C95)."""
        request = (
            b"GET http://bob:hunter2@host/f?token=hunter2#hunter2 HTTP/1.1\r\nHost: x\r\n"
            b"Authorization: Basic hunter2\r\nReferer: http://x/?hunter2\r\nCookie: hunter2\r\n\r\n"
        )
        for as_json in (False, True):
            self.assertNotIn("hunter2", self.logged(request, as_json=as_json))

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

    @settings(max_examples=50, deadline=None, database=None)
    @given(
        st.none() | st.text(max_size=20),
        st.text(max_size=20),
        st.text(max_size=20),
        st.integers(0, 9),
    )
    def test_many(self, user: str | None, agent: str, path: str, size: int) -> None:
        """The lines of many answers are those of each of them, and nobody forges one."""
        said, asker = SharedLogFields("GET", path, "HTTP/1.1", 200, size), LogClient(user, agent)
        many = Many(
            [("now", "192.0.2.7", asker, said), ("now", None, LogClient(None, ""), said)],
            "k3x5qa",
            0xFFFFFF,
        )
        texts = [entry.text() for entry in many.entries()]
        self.assertEqual(
            [text.rpartition(" ")[2] for text in texts], ["k3x5qaffffff", "k3x5qa1000000"]
        )
        self.assertEqual(many.texts(), texts)
        self.assertEqual(many.lines("begin ", "\n"), [f"begin {text}\n" for text in texts])
        self.assertTrue(all(text.isascii() and text.isprintable() for text in texts))
