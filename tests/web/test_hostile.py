"""Whatever comes over the wire: an answer that is no 500, without a traceback, and the next request
is answered.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.web.http.connections import HostPolicy
from tests.distributions import wheel, wheel_filename
from tests.web.full_app import Connection, Pypid, form, spelled, text
from tests.web.route_rights import CLASSES
from tests.web.uploaders import Dist, twine_7

SEGMENTS = [
    *(
        "simple",
        "packages",
        "legacy",
        "pypi",
        "json",
        "api",
        "projects",
        "files",
        "releases",
        "yank",
        "integrity",
        "names",
    ),
    *(
        "+simple",
        "%2Bsimple",
        "spam",
        "SPAM",
        "1.0",
        wheel_filename(),
        f"{wheel_filename()}.metadata",
        "health",
        "rebuild",
    ),
    *(
        "",
        ".",
        "..",
        "%2e%2e",
        "..%2f",
        "%2f",
        "%5c",
        "%00",
        "%ff%fe",
        "%c0%ae",
        "%",
        "%zz",
        "-",
        "a" * 300,
        "caf%C3%A9",
    ),
    *(
        "%F0%9F%90%8D",
        "a%20b",
        "a;b",
        "a:b",
        "a@b",
        "__proto__",
        "%0d%0aX:%20y",
        "{{7*7}}",
        "<script>",
        "'\"",
        "~",
        "*",
    ),
]
METHODS = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "get",
    "TRACE",
    "CONNECT",
    "BREW",
]
FIELDS = [
    *(
        "Accept",
        "Accept-Encoding",
        "Authorization",
        "Content-Type",
        "Cookie",
        "Expect",
        "If-Match",
        "If-Modified-Since",
    ),
    *(
        "If-None-Match",
        "If-Range",
        "If-Unmodified-Since",
        "Origin",
        "Range",
        "Referer",
        "TE",
        "Upgrade",
        "User-Agent",
    ),
    *(
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "Connection",
        "Content-Encoding",
        "X-HTTP-Method-Override",
    ),
]
VALUE = st.one_of(
    st.sampled_from(
        [
            "",
            "*/*",
            "*",
            "bytes=0-",
            "bytes=-1",
            '"x"',
            "W/",
            "gzip;q=x",
            "Basic Og==",
            "multipart/form-data; boundary=x",
            "a,b",
            ";=;",
        ]
    ),
    st.text(
        st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40
    ),
)
TARGETS = st.lists(st.sampled_from(SEGMENTS), max_size=6).map(
    lambda segments: "/" + "/".join(segments)
)
QUERIES = st.sampled_from(
    ["", "?", "?format=x", "?format=%ff", "?:action=submit", "?a=b&a", "?%00=%00", "?" + "x" * 2000]
)
HEADERS = st.lists(st.tuples(st.sampled_from(FIELDS), VALUE), max_size=4)
BODIES = st.one_of(
    st.none(),
    st.sampled_from(
        [
            b"",
            b"{}",
            b"[",
            b'{"reason": 1}',
            b'{"status": "x"}',
            b"null",
            form([text(":action", "submit")], "x"),
        ]
    ),
    st.binary(max_size=60),
)
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")

fast = settings(max_examples=30, deadline=None, database=None)


class HostileTests(SynchronousTestCase):
    """Requests of any kind. (trial fails a test in which an error was logged, and our 500s are.)"""

    def setUp(self) -> None:
        """One pypid for all examples, with a file in it."""
        self.spool = Path(mkdtemp())
        self.addCleanup(shutil.rmtree, self.spool)
        self.pypid = Pypid(self.spool)
        sent = twine_7(Dist(wheel_filename(), wheel()))
        answer = self.pypid.ask(
            "POST", "/legacy/", ("Content-Type", sent.content_type), body=sent.body, user="alice"
        )
        self.assertEqual(answer.status, 200)

    def statuses(self, connection: Connection) -> list[int]:
        """What the site answered, none of it a 500."""
        received = bytes(connection.socket.value())
        found = [int(status) for status in STATUS.findall(received)]
        self.assertNotIn(500, found, received)
        self.assertNotIn(b"Traceback", received)
        return found

    def still_alive(self) -> None:
        """An ordinary request is answered, and nothing was left behind."""
        self.assertEqual(self.pypid.get(f"/packages/spam/{wheel_filename()}").body, wheel())
        self.assertEqual(list(self.spool.iterdir()), [])

    @given(
        st.sampled_from(METHODS),
        TARGETS,
        QUERIES,
        HEADERS,
        BODIES,
        st.sampled_from([None, "bob", "alice"]),
    )
    @example("GET", "//", "", [], None, None)
    @example("GET", "/simple/%ff/", "", [], None, None)
    @example("DELETE", "/api/projects/spam/files/..%2f", "", [], None, "alice")
    @fast
    def test_requests(
        self,
        method: str,
        target: str,
        query: str,
        headers: list[tuple[str, str]],
        body: bytes | None,
        user: str | None,
    ) -> None:
        """Any method, path, query, headers and body get an answer (C20)."""
        connection = self.pypid.connect()
        connection.send(spelled(method, target + query, *headers, body=body, user=user))
        self.assertEqual(len([status for status in self.statuses(connection) if status >= 200]), 1)
        self.still_alive()

    @given(
        st.sampled_from(sorted(CLASSES)),
        st.lists(st.sampled_from(SEGMENTS), min_size=6, max_size=6),
        HEADERS,
        BODIES,
    )
    @fast
    def test_every_route(
        self,
        route: tuple[str, str],
        odd: list[str],
        headers: list[tuple[str, str]],
        body: bytes | None,
    ) -> None:
        """Every route takes any values in its path; with a right that nobody here has for what
        would delete (C20).
        """
        rule, method = route
        values = iter(odd)
        path = re.sub(r"<[^>]+>", lambda _: next(values), rule)
        connection = self.pypid.connect()
        connection.send(spelled(method, path, *headers, body=body, user="bob"))
        self.assertEqual(
            len([status for status in self.statuses(connection) if status >= 200]),
            1,
            (method, path),
        )
        self.still_alive()

    @given(
        st.sampled_from(["HEAD", "GET", "PUT", "DELETE", "POST"]),
        st.lists(st.sampled_from(SEGMENTS), max_size=4),
        BODIES,
    )
    @fast
    def test_an_admin_may_be_odd_too(
        self, method: str, rest: list[str], body: bytes | None
    ) -> None:
        """An admin's requests below /api/ never fail inside (C20)."""
        target = "/api/" + "/".join(["projects", "other", *rest])
        connection = self.pypid.connect()
        connection.send(spelled(method, target, body=body, user="ada"))
        self.assertEqual(len([status for status in self.statuses(connection) if status >= 200]), 1)
        self.still_alive()

    @given(st.binary(max_size=200))
    @example(b"GET / HTTP/1.1\r\nHost: a..b\r\n\r\n")
    @example(b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n")
    @example(b"GET http://ada:s@x/simple/ HTTP/1.1\r\nHost: x\r\n\r\n")
    @example(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    @example(b"PUT /api/projects/spam/status HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n")
    @fast
    def test_bytes(self, data: bytes) -> None:
        """Any bytes at all, by themselves or behind the beginning of a request (C20)."""
        for start in (
            b"",
            b"GET /",
            b"GET / HTTP/1.1\r\nHost: a\r\n",
            b"POST /legacy/ HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n",
        ):
            connection = self.pypid.connect()
            connection.send(start + data)
            connection.send(b"\r\n\r\n" * 2)
            self.statuses(connection)
        self.still_alive()

    @given(st.data())
    @settings(max_examples=25, deadline=None, database=None)
    def test_mangled_uploads(self, data: st.DataObject) -> None:
        """An upload whose form was cut, doubled or changed is taken or refused, never a 500, and
        leaves nothing (C76).
        """
        sent = twine_7(Dist(wheel_filename("eggs"), wheel("eggs"), "eggs"))
        body = bytearray(sent.body)
        for _ in range(data.draw(st.integers(1, 4))):
            start = data.draw(st.integers(0, len(body)))
            stop = min(len(body), start + data.draw(st.integers(0, 40)))
            body[start:stop] = data.draw(
                st.one_of(st.binary(max_size=10), st.just(bytes(body[:stop])))
            )
        kind = ("Content-Type", sent.content_type)
        answer = self.pypid.ask("POST", "/legacy/", kind, body=bytes(body), user="alice")
        self.assertIn(answer.status, (200, 400, 413), answer)
        if answer.status == 200:
            self.pypid.api("DELETE", "/api/projects/eggs")
            self.pypid.api("DELETE", "/api/names/eggs")
        self.still_alive()

    def test_hosts(self) -> None:
        """A Host that no URL could have is 400, not an error of ours (C20)."""
        self.pypid.site.hosts = HostPolicy(("*",))
        for host in (
            "a..b",
            ".",
            "a" * 70,
            "x" * 300 + ".com",
            "a b",
            "a/b",
            "a@b",
            "a:b",
            "[::1",
            "\xe4",
        ):
            connection = self.pypid.connect()
            connection.send(f"GET /simple HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1"))
            self.assertEqual(self.statuses(connection), [400], host)
        for host in (
            "[::1]:80",
            "127.0.0.1:8080",
            "localhost",
            "under_score",
            "xn--bcher-kva.example",
            "a.b.",
        ):
            connection = self.pypid.connect()
            connection.send(f"GET /simple/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1"))
            self.assertEqual(self.statuses(connection), [200], host)
