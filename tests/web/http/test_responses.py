"""Files, pages and redirects as they leave."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from hashlib import sha256

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import Request

from pypid.core.errors import Missing, StorageDown
from pypid.core.model import RenderedPage, Span, StoredFile
from pypid.core.packaging.names import ProjectName
from pypid.flow import BytesBody, at_once
from pypid.flow.bodies import PIECE
from pypid.web.http.headers import DownloadHead, Encoding
from pypid.web.http.response_body import PATIENCE, WrongLength
from pypid.web.http.responses import (
    AT_ONCE,
    LARGE,
    QUICK,
    FinishedPage,
    gzipped,
    redirect,
    send_file,
    send_page,
    send_text,
)
from tests.web.memory_site import Answer, Talk, ask, parse

SMALL_DATA = bytes(range(256)) * 10
BIG_DATA = bytes(range(251)) * 2000
FILE = StoredFile(
    project=ProjectName("foo"),
    filename="foo-1.0.tar.gz",
    version="1.0",
    sha256=sha256(SMALL_DATA).hexdigest(),
    size=len(SMALL_DATA),
    uploaded=datetime(2026, 3, 1, 12, 30, 15, 5, tzinfo=UTC),
    key="foo/foo-1.0.tar.gz",
)
WHAT = DownloadHead.of(FILE)


@define
class Source:
    """A body whose pieces are let go by hand, and that knows what was done to it."""

    pieces: list[bytes | Exception]
    size: int | None = None
    taken: int = 0
    closed: int = 0
    gate: Deferred[None] | None = None
    spans: list[Span | None] = field(factory=list)

    async def open(self, span: Span | None) -> Source:
        self.spans.append(span)
        return self

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if self.gate is not None:
                await self.gate
            if isinstance(piece, Exception):
                raise piece
            self.taken += 1
            yield piece

    async def aclose(self) -> None:
        self.closed += 1


def pouring(source: Source, size: int) -> Talk:
    """A talk in which a body is being poured."""
    talk = Talk(lambda request: send_file(request, evolve(WHAT, size=size), source.open))
    talk.send("GET /f")
    return talk


class FileTests(SynchronousTestCase):
    def test_missing(self) -> None:
        """Bytes that are not there, or too few, are an error before anything is sent."""

        async def missing(span: Span | None) -> BytesBody:
            raise Missing("foo/foo-1.0.tar.gz")

        async def short(span: Span | None) -> BytesBody:
            return BytesBody(SMALL_DATA[:-1])

        async def empty(span: Span | None) -> Source:
            return Source([EOFError("the file is shorter than it was")])

        big = evolve(WHAT, size=1 << 20)
        for what, body_of, request in (
            (WHAT, missing, "GET"),
            (WHAT, missing, "HEAD"),
            (WHAT, short, "GET"),
            (big, empty, "GET"),
        ):
            talk = Talk(lambda asked, what=what, body_of=body_of: send_file(asked, what, body_of))
            talk.send(f"{request} /f")
            self.assertIsInstance(talk.results[0].value, StorageDown)
            self.assertNotIn("foo/foo", str(talk.results[0].value))
            self.assertEqual(talk.transport.value(), b"")


class PourTests(SynchronousTestCase):
    PIECE = b"x" * 100_000

    def test_back_pressure(self) -> None:
        """While the client takes nothing, only the next piece is fetched."""
        source = Source([self.PIECE] * 50)
        talk = Talk(lambda request: send_file(request, evolve(WHAT, size=5_000_000), source.open))
        real_write = talk.transport.write

        def write(data: bytes) -> None:
            real_write(data)
            if len(data) == len(self.PIECE):
                talk.transport.producer.pauseProducing()

        talk.transport.write = write
        talk.send("GET /f")
        for round in range(50):
            self.assertEqual(source.taken, min(round + 2, 50))
            talk.transport.producer.resumeProducing()
        self.assertEqual(parse(talk.transport.value()).body, self.PIECE * 50)
        self.assertEqual((talk.results, source.closed), ([None], 1))
        self.assertEqual(
            [call for call in talk.clock.getDelayedCalls() if call.getTime() == PATIENCE], []
        )

    def test_next_request(self) -> None:
        """After a poured answer the connection takes the next request."""
        talk = Talk(lambda request: send_text(request, BIG_DATA, evolve(WHAT, size=len(BIG_DATA))))
        talk.send("GET /f")
        first = talk.transport.value()
        talk.send("GET /f")
        self.assertEqual(parse(talk.transport.value()[len(first) :]).body, BIG_DATA)

    def test_client_goes_away_early(self) -> None:
        """A client that goes away while the storage is slow ends the body, before an answer began
        or after.
        """
        for begun in (False, True):
            source = Source([self.PIECE] * 50, gate=None if begun else Deferred())
            talk = self._paused(source) if begun else pouring(source, 5_000_000)
            if begun:
                source.gate = Deferred()
                talk.transport.producer.resumeProducing()
            talk.lose()
            source.gate.callback(None)
            self.assertTrue(talk.results[0].check(CancelledError), talk.results)
            self.assertEqual(source.closed, 1)

    def test_client_goes_away_paused(self) -> None:
        """A client that goes away while it takes nothing ends the body; nothing is left behind."""
        source = Source([self.PIECE] * 50)
        talk = self._paused(source)
        talk.lose()
        self.assertTrue(talk.results[0].check(CancelledError), talk.results)
        self.assertEqual((source.closed, talk.clock.getDelayedCalls()), (1, []))

    def test_cancelled(self) -> None:
        """A route that is cancelled (by Klein, when the client goes away) closes the body and the
        connection.
        """
        source = Source([self.PIECE] * 50)
        talk = self._paused(source)
        talk.site.resource.running[0].cancel()
        self.assertTrue(talk.results[0].check(CancelledError))
        self.assertEqual((source.closed, talk.transport.disconnecting), (1, True))

    def test_client_that_does_not_read(self) -> None:
        """A client that takes nothing from one look to the next is cut off; one that takes a piece
        each time is not.
        """
        talk = self._paused(Source([self.PIECE] * 50))
        for _ in range(5):
            talk.clock.advance(PATIENCE)
            talk.transport.producer.resumeProducing()
        talk.clock.advance(PATIENCE)
        self.assertFalse(talk.transport.disconnecting)
        talk.clock.advance(PATIENCE - 1)
        self.assertFalse(talk.transport.disconnecting)
        talk.clock.advance(1)
        self.assertTrue(talk.transport.disconnecting)

    def test_body_fails(self) -> None:
        """A body that fails, ends early or is too long, after the head was sent, closes the
        connection at once.
        """
        size = 5 * len(self.PIECE)
        for pieces, kind in (
            ([self.PIECE, StorageDown("It went.")], StorageDown),
            ([self.PIECE, OSError("disk")], OSError),
            ([self.PIECE] * 4, WrongLength),
            ([self.PIECE] * 6, WrongLength),
        ):
            source = Source(list(pieces))
            talk = pouring(source, size)
            self.assertTrue(talk.transport.disconnecting, kind)
            self.assertTrue(talk.results[0].check(kind), talk.results)
            self.assertEqual(source.closed, 1)
            body = talk.transport.value().partition(b"\r\n\r\n")[2]
            self.assertLessEqual(len(body), size)

    def _paused(self, source: Source) -> Talk:
        talk = Talk(lambda request: send_file(request, evolve(WHAT, size=5_000_000), source.open))
        real_write = talk.transport.write

        def write(data: bytes) -> None:
            real_write(data)
            if len(data) == len(self.PIECE):
                talk.transport.producer.pauseProducing()

        talk.transport.write = write
        talk.send("GET /f")
        self.assertEqual((source.taken, talk.results), (2, []))
        return talk


LONG = RenderedPage(
    b"<!DOCTYPE html>\n" + b"<a href='x'>x</a>\n" * 400, "text/html; charset=utf-8", '"abc"'
)
GZIP = {"Accept-Encoding": "gzip, deflate"}


def page(
    of: RenderedPage,
    request: str = "GET /simple/",
    headers: dict[str, str] | None = None,
    **options: object,
) -> Answer:
    return ask(
        lambda asked: send_page(asked, FinishedPage(of, at_once), **options), request, headers
    )  # type: ignore[arg-type]


class PageTests(SynchronousTestCase):
    def test_no_script(self) -> None:
        """A page for people runs no script, whatever gets into it, and no other page
        may frame it.
        """
        for encoding in ({}, GZIP):
            policy = page(LONG, headers=encoding)["content-security-policy"] or ""
            self.assertIn("default-src 'none'", policy)
            self.assertIn("frame-ancestors 'none'", policy)
        self.assertIsNone(
            page(RenderedPage(b"{}", "application/json", '"abc"'))["content-security-policy"]
        )

    def test_large_page(self) -> None:
        """A large page goes at the pace of the client, and pipelined requests wait for it: unread
        pages do not pile up.
        """
        body = bytes(range(256)) * 20_000
        large = FinishedPage(RenderedPage(body, "text/html", '"abc"'), at_once)
        talk = Talk(lambda request: send_page(request, large))
        real_write = talk.transport.write

        def write(data: bytes) -> None:
            real_write(data)
            talk.transport.producer.pauseProducing()

        talk.transport.write = write
        for _ in range(20):
            talk.send("GET /simple/")
        self.assertLess(len(talk.transport.value()), 2 * PIECE)
        for _ in range(100):
            talk.transport.producer.resumeProducing()
            if talk.results:
                break
        first = (
            talk.transport.value()[: talk.transport.value().find(b"HTTP/1.1", 10)]
            or talk.transport.value()
        )
        self.assertIn(body, first)
        talk.lose()
        self.assertEqual(talk.clock.getDelayedCalls(), [])

    def test_page_for_nobody(self) -> None:
        """A client that goes away while the page is gzipped gets nothing, and nothing fails."""
        gate: Deferred[None] = Deferred()
        large = FinishedPage(
            RenderedPage(b"x" * 1_000_000, "text/html", '"abc"'),
            lambda call, *args: gate.addCallback(lambda _: call(*args)),
        )
        talk = Talk(lambda request: send_page(request, large))
        talk.send("GET /simple/", GZIP)
        talk.lose()
        gate.callback(None)
        self.assertTrue(talk.results[0].check(CancelledError), talk.results)

    def test_gzipped_once(self) -> None:
        """A large page is gzipped off the reactor, once, however many ask meanwhile; one who goes
        away spoils it for nobody.
        """
        calls: list[Deferred[RenderedPage]] = []

        def blocking(call: Callable[..., RenderedPage], *args: object) -> Deferred[RenderedPage]:
            calls.append(Deferred())
            return calls[-1]

        large = evolve(LONG, body=b"x" * (AT_ONCE + 1))
        finished = FinishedPage(large, blocking)  # type: ignore[arg-type]
        talks = [Talk(lambda request: send_page(request, finished)) for _ in range(3)]
        for talk in talks:
            talk.send("GET /", GZIP)
        talks[0].site.resource.running[0].cancel()
        calls[0].callback(gzipped(large))
        for talk in talks[1:]:
            self.assertEqual(gzip.decompress(parse(talk.transport.value()).body), large.body)
        last = Talk(lambda request: send_page(request, finished))
        last.send("GET /", GZIP)
        self.assertEqual((len(calls), last.results), (1, [None]))

    def test_large_pages_stay_in_memory_gzipped_only(self) -> None:
        """Once a large page is gzipped, it takes no more than that; both forms stay the same for
        clients. A small page keeps both.
        """
        for size, stays in ((LARGE, True), (LARGE + 1, False), (QUICK + 1, False)):
            page = evolve(LONG, body=bytes(range(97)) * (size // 97) + b"x" * (size % 97))
            for zipped in (None, gzipped(page)):
                finished = FinishedPage(page, at_once, zipped=zipped)
                packed = self.successResultOf(Deferred.fromCoroutine(finished.gzipped()))
                self.assertEqual(packed, gzipped(page))
                weight = len(packed.body) + stays * size
                for _ in range(2):
                    plain = self.successResultOf(
                        Deferred.fromCoroutine(finished.in_encoding(Encoding.IDENTITY))
                    )
                    self.assertEqual(plain, page)
                    self.assertEqual(finished.weight, weight)


def moved(request: str, location: str, **options: bool) -> Answer:
    async def respond(asked: Request) -> None:
        redirect(asked, location, **{"permanent": True, **options})

    return ask(respond, request)


class RedirectTests(SynchronousTestCase):
    def test_elsewhere(self) -> None:
        """A path never becomes another host, another scheme or another header."""
        self.assertEqual(moved("GET /simple", "//evil.example/")["location"], ".//evil.example/")
        self.assertEqual(moved("GET /simple", "/javascript:x/")["location"], "./javascript:x/")
        got = moved("GET /simple", "/a\r\nSet-Cookie: b=c/")
        self.assertEqual(
            (got["location"], got["set-cookie"]), ("./a%0D%0ASet-Cookie:%20b=c/", None)
        )

    def test_absolute(self) -> None:
        """An absolute URL goes out without user name and password."""
        got = moved(
            "GET /f?x=y", "https://alice:secret@files.example:8443/f?sig=a", permanent=False
        )
        self.assertEqual(
            (got["location"], got["cache-control"]),
            ("https://files.example:8443/f?sig=a", "no-cache"),
        )
