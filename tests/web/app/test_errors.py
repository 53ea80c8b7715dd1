"""Errors as answers."""

from __future__ import annotations

from html.parser import HTMLParser

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import Request
from werkzeug.exceptions import NotFound

from pypid.core import errors
from pypid.core.errors import INTERNAL, PypidError
from pypid.core.policy import UnknownOwner
from pypid.web.app.errors import ErrorResponse, refusal_of, respond_error
from pypid.web.http.request_body import ClientGone
from pypid.web.http.response_body import write
from tests.web.memory_site import Answer, Talk, ask

UV = {"Accept": "application/json;q=0.9, text/plain;q=0.8, text/html;q=0.7"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def answer(
    error: BaseException, request: str = "GET /simple/foo/", headers: dict[str, str] | None = None
) -> Answer:
    async def respond(asked: Request) -> None:
        await respond_error(asked, error, random=lambda count: b"\x07" * count)

    return ask(respond, request, headers)


class TableTests(SynchronousTestCase):
    def test_every_error_is_listed(self) -> None:
        """Every class of core.errors, and every one that the web raises, has a status, of its own
        or of a base class.
        """
        classes = {
            kind
            for kind in (*vars(errors).values(), ClientGone, UnknownOwner)
            if isinstance(kind, type) and issubclass(kind, PypidError) and kind is not PypidError
        }
        self.assertGreater(len(classes), 50)
        for kind in classes:
            bases = kind.__mro__[: kind.__mro__.index(PypidError)]
            self.assertTrue(any("http_status" in vars(base) for base in bases), kind)

    def test_unlisted_is_internal(self) -> None:
        """A class of somebody else's is not shown to clients; a subclass of a listed one is."""

        class Strange(PypidError):
            pass

        class Rarer(errors.NoSuchFile):
            pass

        self.assertIsNone(refusal_of(Strange()))
        self.assertEqual(refusal_of(Rarer("x")).status, 404)
        self.assertEqual(
            [kind.http_status for kind in (errors.Missing, errors.Unreadable)], [INTERNAL] * 2
        )


class AnswerTests(SynchronousTestCase):
    def test_html(self) -> None:
        """A browser gets a page, in which nothing of the request is markup."""
        got = answer(errors.NoSuchProject("<script>x</script>"), headers=BROWSER)
        self.assertEqual((got.status, got["content-type"]), (404, "text/html; charset=utf-8"))
        tags: list[str] = []
        parser = HTMLParser()
        parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
        parser.feed(got.body.decode())
        self.assertEqual(tags, ["html", "head", "meta", "meta", "title", "body", "main", "h1", "p"])
        self.assertEqual(got["content-security-policy"], "default-src 'none'")

    def test_upstream_failure_is_logged_once(self) -> None:
        """A part that is away is a line in the log; an upstream that is away has one already, where
        it was asked.
        """
        away, refused = (
            errors.StorageDown("It is away."),
            errors.UpstreamDown("it refuses connections."),
        )
        for error, lines in ((away, 1), (refused, 0), (errors.ListIncomplete(), 0)):
            with capturedLogs() as events:
                self.assertEqual(answer(error).status, 503)
            self.assertEqual(
                len([event for event in events if event["log_level"] is LogLevel.warn]), lines
            )

    def test_leftovers(self) -> None:
        """Nothing of an answer that was being prepared stays in the error."""

        async def respond(request: Request) -> None:
            for name in (b"ETag", b"Content-Encoding", b"Content-Range", b"Last-Modified"):
                request.setHeader(name, b"x")
            request.setHeader(b"Cache-Control", b"public, max-age=31536000, immutable")
            request.setHeader(b"Content-Length", b"500")
            await respond_error(request, NotFound(), random=bytes)

        got = ask(respond)
        self.assertEqual(
            [got[name] for name in ("etag", "content-encoding", "content-range", "last-modified")],
            [None] * 4,
        )
        self.assertEqual(got["cache-control"], "no-store")

    def test_unexpected(self) -> None:
        """An unexpected error is in the log with its number; the client gets the number and nothing
        of the error.
        """
        for headers in (None, UV, BROWSER):
            got = answer(ValueError("the password is hunter2"), headers=headers)
            self.assertEqual(got.status, 500)
            for secret in (b"hunter2", b"ValueError", b"Traceback"):
                self.assertNotIn(secret, got.body)
            self.assertNotIn("hunter2", repr(got.head) + got.reason)
            self.assertIn(b"070707070707", got.body)
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_internal(self) -> None:
        """An error that is not meant for clients does not name keys of the storage."""
        got = answer(errors.Missing("acme/secret-plan-1.0.tar.gz"))
        self.assertEqual((got.status, b"secret-plan" in got.body), (500, False))
        self.assertEqual(len(self.flushLoggedErrors(errors.Missing)), 1)

    def test_begun(self) -> None:
        """Where an answer has begun, the connection is closed and nothing more is written."""

        async def respond(request: Request) -> None:
            request.setHeader(b"Content-Length", b"10")
            write(request, b"12345")
            await respond_error(request, ValueError("late"), random=bytes)

        talk = Talk(respond)
        talk.send("GET /")
        self.assertTrue(talk.transport.disconnecting)
        self.assertEqual(talk.results, [])
        self.assertTrue(talk.transport.value().endswith(b"\r\n\r\n12345"))
        talk.lose()
        self.assertTrue(talk.results[0].check(CancelledError))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    @settings(max_examples=50, deadline=None, database=None)
    @given(st.text(max_size=400))
    def test_reason(self, text: str) -> None:
        """Whatever the text, the reason phrase is one short line of printable Latin-1."""
        reason = ErrorResponse(400, text).reason
        self.assertLessEqual(len(reason), 200)
        self.assertFalse(
            any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or ord(c) > 0xFF for c in reason)
        )

    def test_splitting(self) -> None:
        """Line ends in a message make no header fields."""
        got = answer(evolve(errors.BadRequest("x"), reason="a\r\nSet-Cookie: b=c\r\n\r\nbody"))
        self.assertEqual((got.status, got["set-cookie"]), (400, None))
