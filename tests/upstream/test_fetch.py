"""Files of another index: as a stream, whole or in part, checked against what was announced."""

from __future__ import annotations

from contextlib import aclosing
from gzip import compress
from itertools import repeat

from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from pypid.core.errors import NotThere, UpstreamDown
from pypid.core.model import Span
from pypid.flow import start, whole
from pypid.http_client.connections import PER_READ
from pypid.http_client.response_body import FULL
from pypid.ports import Body, Upstream
from tests.upstream.cases import UpstreamCase
from tests.upstream.fake import Script, Talk, raw, says, status

DATA = bytes(range(256)) * 4
PATH = "/files/spam-1.0-py3-none-any.whl"
SDIST = "/files/spam-1.0.tar.gz"
SPAN = Span(10, 20)


class FetchTests(UpstreamCase):
    """A file comes as it is, or an error does."""

    async def fetch(
        self,
        script: Script,
        span: Span | None = None,
        path: str = PATH,
        upstream: Upstream | None = None,
    ) -> Body:
        """The body that comes of this script."""
        self.script(script, path)
        return await (upstream or self.asks()).fetch(self.fake.url + path, span, ())

    async def all_of(self, script: Script, span: Span | None = None, path: str = PATH) -> bytes:
        """Its bytes."""
        return await whole(await self.fetch(script, span, path), 1 << 30)

    async def test_whole(self) -> None:
        """A file is asked for without gzip, and comes with its size."""
        body = await self.fetch(says(DATA))
        self.assertEqual(body.size, len(DATA))
        self.assertEqual(await whole(body, 1 << 20), DATA)
        self.assertEqual(self.fake.asked[0].headers["accept-encoding"], "identity")
        self.assertNotIn("range", self.fake.asked[0].headers)
        self.assertEqual(await self.all_of(raw(b"HTTP/1.0 200 OK\r\n\r\n" + DATA, None)), DATA)
        self.assertEqual(await self.all_of(says(b"")), b"")

    async def test_span_ignored(self) -> None:
        """An index that knows no Range sends all: what is not wanted is thrown away, and the rest
        is not waited for.
        """
        body = await self.fetch(says(DATA), SPAN)
        self.assertEqual(body.size, 10)
        self.assertEqual(await whole(body, 100), DATA[10:20])

        async def endless(talk: Talk) -> None:
            talk.send(b"HTTP/1.1 200 OK\r\n\r\n" + DATA)
            await talk.pour(repeat(bytes(65536)))

        self.assertEqual(await self.all_of(endless, SPAN), DATA[10:20])

    async def test_short(self) -> None:
        """A body that ends before its announced end raises, whatever the way."""
        good = f"bytes 10-19/{len(DATA)}"
        for script, span in (
            (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + DATA, None), None),
            (
                raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n", None),
                None,
            ),
            (says(DATA[10:15], 206, Content_Range=good), SPAN),
            (says(DATA[:15]), SPAN),
            (says(DATA[:5]), SPAN),
            (says(compress(DATA)[:-9], Content_Encoding="gzip"), None),
        ):
            error = await self.refused(self.all_of(script, span), UpstreamDown)
            self.assertIn("broke off", str(error))

    async def test_not_there(self) -> None:
        """404 and 410 say so of the file; everything else that is not 200 is an index
        that is down.
        """
        for code in (404, 410):
            error = await self.refused(self.fetch(status(code)), NotThere)
            self.assertIn("spam-1.0", str(error))
        for code in (204, 304, 400, 401, 403, 429, 500, 503):
            await self.refused(
                self.fetch(status(code, Content_Length="" if code in (204, 304) else "10")),
                UpstreamDown,
            )

    async def test_gzip_unasked(self) -> None:
        """Gzip where identity was asked for is taken off, also in part; its size is
        not the file's.
        """
        script = says(compress(DATA), Content_Encoding="gzip")
        body = await self.fetch(script)
        self.assertIsNone(body.size)
        self.assertEqual(await whole(body, 1 << 20), DATA)
        self.assertEqual(await self.all_of(script, SPAN), DATA[10:20])
        await self.refused(self.fetch(says(DATA, Content_Encoding="br")), UpstreamDown)
        await self.refused(
            self.fetch(
                says(DATA[10:20], 206, Content_Range="bytes 10-19/99", Content_Encoding="gzip"),
                SPAN,
            ),
            UpstreamDown,
        )

    async def test_gzip_file(self) -> None:
        """A .tar.gz whose gzip is called an encoding stays as it is; one that was packed again is
        unpacked once.
        """
        sdist = compress(b"not really a tar" * 99)
        self.assertEqual(await self.all_of(says(sdist, Content_Encoding="gzip"), path=SDIST), sdist)
        self.assertEqual(
            await self.all_of(says(compress(sdist), Content_Encoding="x-gzip"), path=SDIST), sdist
        )
        self.assertEqual(
            await self.all_of(says(DATA, Content_Encoding="gzip")), DATA
        )  # it never was

    async def test_bomb(self) -> None:
        """A small body that becomes a large one does so in small pieces."""
        body = await self.fetch(says(compress(bytes(64 << 20)), Content_Encoding="gzip"))
        async with aclosing(body):
            sizes = [len(piece) async for piece in body]
        self.assertEqual(sum(sizes), 64 << 20)
        self.assertLessEqual(max(sizes), 1 << 16)

    async def test_back_pressure(self) -> None:
        """While nobody takes, next to nothing is taken from the index; it goes on when somebody
        does.
        """
        total = 200 << 20

        async def script(talk: Talk) -> None:
            talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
            await talk.pour(repeat(bytes(65536), total >> 16))

        body = await self.fetch(script)
        pieces = aiter(body)
        taken = len(await anext(pieces))
        await deferLater(
            self.reactor, 0.6
        )  # longer than it may be silent: that we do not take is not its silence
        held = body._waiting  # type: ignore[attr-defined]
        self.assertLess(held, FULL + PER_READ)
        self.assertLess(self.fake.talks[0].sent, 30 << 20)  # what the kernel's buffers hold
        async for piece in pieces:
            taken += len(piece)
            self.assertLess(len(piece), FULL + PER_READ)
            if taken > (60 << 20):
                break
        await body.aclose()
        self.assertTrue(await self.fake.all_gone())
        self.assertLess(self.fake.talks[0].sent, 90 << 20)

    async def test_closed(self) -> None:
        """A body can be closed before, while and after it is read, more than once, and cancelled
        while somebody waits.
        """
        script = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + DATA)
        body = await self.fetch(script)
        await body.aclose()
        await body.aclose()
        body = await self.fetch(script)
        waiting = start(whole(body, 9999))
        waiting.cancel()
        with self.assertRaises(CancelledError):
            await waiting
        body = await self.fetch(script)
        await anext(aiter(body))
        await body.aclose()
        with self.assertRaises(RuntimeError):
            await anext(aiter(body))
        self.assertTrue(await self.fake.all_gone())
