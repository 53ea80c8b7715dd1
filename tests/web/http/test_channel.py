"""Requests whose bodies stream: `pypid.web.http.channel`, `pypid.web.http.request`, `pypid.web.http.request_body`."""

from __future__ import annotations

from time import process_time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadRequest, Unauthenticated
from pypid.web.http import channel
from pypid.web.http.request import Request
from pypid.web.http.request_body import FULL, ClientGone, read_small
from tests.web.raw_http import Wire, chunked, request


async def echo(request: Request) -> bytes:
    """Answer with the path and the body."""
    pieces = [piece async for piece in request.body]
    return request.path + b"=" + b"".join(pieces)


async def turn_away(request: Request) -> bytes:
    """Answer 401 before anything of the body is read."""
    raise Unauthenticated()


class Waiting:
    """A handler that does what it is told, when it is told."""

    def __init__(self) -> None:
        self.request: Request | None = None
        self.go: Deferred[bytes | None] = Deferred()

    async def __call__(self, request: Request) -> bytes | None:
        self.request = request
        return await self.go


class BodyTests(SynchronousTestCase):
    """Bodies reach their handlers."""

    def test_a_body_is_streamed(self) -> None:
        """A handler gets the body, and the answer is one of twisted.web."""
        wire = Wire(echo)
        wire.send(request("POST", "/a?b=c", body=b"hello"))
        self.assertEqual(wire.statuses, [200])
        self.assertTrue(wire.received.endswith(b"\r\n\r\n/a=hello"))
        self.assertFalse(wire.closed)

    def test_a_request_without_a_body_has_an_empty_one(self) -> None:
        """GET, and POST with Content-Length 0, have a body of size 0 that ends at once."""
        wire = Wire(echo)
        wire.send(request("GET", "/a") + request("POST", "/b", body=b""))
        self.assertEqual(wire.statuses, [200, 200])
        self.assertTrue(wire.received.endswith(b"/b="))

    def test_chunked(self) -> None:
        """A chunked body has no size, and comes whole; so does what is pipelined after it."""
        sizes = []

        async def measured(request: Request) -> bytes:
            sizes.append(request.body.size)
            return await echo(request)

        wire = Wire(measured)
        wire.send(
            request("POST", "/c", "Transfer-Encoding: chunked")
            + chunked(b"abcdefgh", 3)
            + request("GET", "/d")
        )
        self.assertEqual(sizes, [None, 0])
        self.assertIn(b"/c=abcdefgh", wire.received)
        self.assertEqual(wire.statuses, [200, 200])

    @given(st.data())
    @settings(max_examples=40, deadline=None, database=None)
    def test_the_cuts_do_not_matter(self, data: st.DataObject) -> None:
        """However the bytes of pipelined requests are cut, the answers are the same."""
        sent = (
            request("POST", "/1", body=b"x" * 100)
            + request("GET", "/2")
            + request("PUT", "/3", "Transfer-Encoding: chunked")
            + chunked(b"y" * 70, 9)
            + request("POST", "/4", body=b"")
            + request("POST", "/5", body=b"z")
        )
        cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=12)))
        wire = Wire(echo)
        for first, last in zip([0, *cuts], [*cuts, len(sent)], strict=True):
            wire.send(sent[first:last])
        bodies = [b"/1=" + b"x" * 100, b"/2=", b"/3=" + b"y" * 70, b"/4=", b"/5=z"]
        self.assertEqual(wire.statuses, [200] * 5)
        self.assertEqual(
            [part.split(b"\r\n\r\n")[1] for part in wire.received.split(b"HTTP/1.1 ")[1:]], bodies
        )

    def test_the_next_request_waits(self) -> None:
        """A request that is pipelined after a body is not begun before the answer is finished."""
        first = Waiting()
        wire = Wire(first)
        wire.send(request("POST", "/1", body=b"x") + request("GET", "/2"))
        self.assertEqual(wire.statuses, [])
        self.assertEqual(first.request and first.request.path, b"/1")
        go, first.go = first.go, Deferred()
        go.callback(b"done")
        self.assertEqual(first.request and first.request.path, b"/2")

    def test_a_small_body(self) -> None:
        """`read_small` gives the bytes, and refuses what is larger: by its size, or by counting."""

        async def small(request: Request) -> bytes:
            return await read_small(request.body, 4)

        for sent, status in (
            (request("POST", "/", body=b"four"), 200),
            (request("POST", "/", body=b"fives"), 413),
            (request("POST", "/", "Transfer-Encoding: chunked") + chunked(b"fives", 2), 413),
        ):
            wire = Wire(small)
            wire.send(sent)
            self.assertEqual(wire.statuses, [status])


class PressureTests(SynchronousTestCase):
    """Memory is bounded, and who is made to wait is not punished for it."""

    def test_a_handler_that_does_not_read(self) -> None:
        """A body that nobody reads is paused, and goes on when it is read."""
        handler = Waiting()
        wire = Wire(handler)
        body = b"x" * (40 * FULL)
        wire.send(request("POST", "/", body=body), by=65536)
        self.assertGreater(len(wire.unsent), 38 * FULL)
        assert handler.request is not None
        read = Deferred.fromCoroutine(echo(handler.request))
        wire.flow(65536)
        self.assertEqual(self.successResultOf(read), b"/=" + body)

    def test_tiny_chunks_are_counted_with_their_cost(self) -> None:
        """A body of one-byte chunks is paused long before a quarter of a million pieces wait."""
        wire = Wire(Waiting())
        wire.send(request("POST", "/", "Transfer-Encoding: chunked"))
        wire.send(b"1\r\nx\r\n" * 100_000, by=6000)
        self.assertGreater(len(wire.unsent), 550_000)

    def test_our_pause_is_not_their_silence(self) -> None:
        """While we have paused the client, it is not timed out; afterwards it is."""
        handler = Waiting()
        wire = Wire(handler, timeout=60)
        wire.send(request("POST", "/", body=b"x" * (4 * FULL)) + request("GET", "/2"), by=65536)
        wire.pass_time(1000)
        self.assertFalse(wire.closed)
        assert handler.request is not None
        read = Deferred.fromCoroutine(echo(handler.request))
        wire.flow(65536)
        self.assertEqual(len(self.successResultOf(read)), 4 * FULL + 2)
        wire.pass_time(1000)
        self.assertFalse(wire.closed)  # the handler is at work
        handler.go.callback(b"")
        self.assertEqual(wire.statuses, [200, 200])
        wire.pass_time(59)
        self.assertFalse(wire.closed)
        wire.pass_time(2)
        self.assertTrue(wire.closed)

    def test_a_silent_client(self) -> None:
        """A body that stops coming is timed out, and its reader told."""
        self.patch(channel, "MIN_BODY_RATE", 0)
        wire = Wire(echo, timeout=60)
        wire.send(request("POST", "/", "Content-Length: 10") + b"12345")
        wire.pass_time(59)
        wire.send(b"6")
        wire.pass_time(59)
        self.assertFalse(wire.closed)
        wire.pass_time(2)
        self.assertTrue(wire.closed)
        self.assertIsInstance(wire.resource.ended[0], ClientGone)

    def test_pipelined_while_the_way_out_is_blocked(self) -> None:
        """A client that sends requests and reads no answers is paused after a few."""
        handler = Waiting()
        wire = Wire(handler)
        wire.send(request("GET", "/"))
        wire.channel.pauseProducing()
        wire.send(request("GET", "/") * 100_000, by=4096)
        self.assertGreater(len(wire.unsent), 3_000_000)

    def test_pipelined_bytes_are_counted_in_linear_time(self) -> None:
        """What waits behind an answer is paused after 16 KiB, however small its pieces; each piece
        is counted once.
        """
        handler = Waiting()
        wire = Wire(handler)
        wire.send(request("POST", "/", body=b"x") + b"GET")
        begun = process_time()
        for _ in range(16_500):
            if wire.socket.producerState == "producing":
                wire.channel.dataReceived(b"x")
        self.assertEqual(wire.socket.producerState, "paused")
        self.assertLess(process_time() - begun, 2)  # 134 million additions take longer

    def test_a_body_goes_on_while_the_way_out_is_blocked(self) -> None:
        """A client that reads nothing before it has sent everything can send everything."""
        handler = Waiting()
        wire = Wire(handler)
        wire.send(request("POST", "/", "Content-Length: 5"))
        assert handler.request is not None
        handler.request.write(b"x" * 1000)
        wire.channel.pauseProducing()
        wire.send(b"hello")
        self.assertEqual(wire.unsent, b"")
        wire.channel.resumeProducing()
        handler.go.callback(b"")
        self.assertIn(b"Connection: close", wire.received)

    def test_a_blocked_way_out_stops_the_next_request(self) -> None:
        """A client that pipelines requests and reads no answers gets the next one only when it has
        read: memory is bounded.
        """
        handled: list[bytes] = []

        async def answer(asked: Request) -> bytes:
            handled.append(asked.path)
            if len(handled) == 3:
                wire.channel.pauseProducing()
            return b"x" * 10

        wire = Wire(answer)
        wire.send(b"".join(request("GET", f"/{number}") for number in range(9)))
        self.assertEqual(len(handled), 3)
        wire.channel.resumeProducing()
        self.assertEqual(len(handled), 9)
        self.assertEqual(wire.statuses, [200] * 9)

    def test_a_client_that_never_reads_is_cut_off(self) -> None:
        """A client that leaves its answers lying is waited for as long as a silent one, and then
        cut off.
        """

        async def answer(asked: Request) -> bytes:
            wire.channel.pauseProducing()
            return b"x"

        wire = Wire(answer)
        wire.send(request("GET", "/1") + request("GET", "/2"))
        wire.pass_time(59)
        self.assertFalse(wire.closed)
        wire.pass_time(20)
        self.assertTrue(wire.closed)

    def test_the_next_body_comes_when_the_way_is_free(self) -> None:
        """A body that was pipelined behind an answer comes in whole once that answer
        has been read.
        """
        handler = Waiting()
        wire = Wire(handler)
        wire.send(request("GET", "/1"))
        wire.channel.pauseProducing()
        wire.send(request("POST", "/2", "Content-Length: 5") + b"h" * 20_000)
        self.assertEqual(wire.socket.producerState, "paused")
        go, handler.go = handler.go, Deferred()
        go.callback(b"one")
        assert handler.request is not None
        self.assertEqual(handler.request.path, b"/1")
        wire.channel.resumeProducing()
        self.assertEqual(handler.request.path, b"/2")
        self.assertEqual(
            self.successResultOf(Deferred.fromCoroutine(echo(handler.request))), b"/2=hhhhh"
        )


class ContinueTests(SynchronousTestCase):
    """Expect: 100-continue."""

    def test_it_is_sent_when_somebody_asks(self) -> None:
        """100 Continue is sent once, when the body is first asked for."""
        handler = Waiting()
        wire = Wire(handler)
        wire.send(request("POST", "/", "Expect: 100-continue", "Content-Length: 5"))
        wire.pass_time(100)
        self.assertEqual(wire.received, b"")  # and it is not timed out: it waits for us
        assert handler.request is not None
        read = Deferred.fromCoroutine(echo(handler.request))
        self.assertEqual(wire.received, b"HTTP/1.1 100 Continue\r\n\r\n")
        wire.send(b"he")
        wire.send(b"llo")
        self.assertEqual(self.successResultOf(read), b"/=hello")
        handler.go.callback(b"")
        self.assertEqual(wire.statuses, [100, 200])
        self.assertFalse(wire.closed)

    def test_it_is_not_sent_before_a_refusal(self) -> None:
        """A request that is refused by its headers sees its refusal, and nothing of the body is
        asked for.
        """
        wire = Wire(turn_away)
        wire.send(request("POST", "/", "Expect: 100-continue", "Content-Length: 5000000000"))
        self.assertEqual(wire.statuses, [401])
        self.assertTrue(wire.socket.half_closed)

    def test_a_client_that_does_not_wait(self) -> None:
        """Where the body comes anyway, 100 Continue is left out."""
        wire = Wire(echo)
        wire.send(request("POST", "/", "Expect: 100-continue", body=b"hello"))
        self.assertEqual(wire.statuses, [200])

    def test_after_100_the_clock_runs(self) -> None:
        """A client that was told to go on, and does not, is timed out."""
        wire = Wire(echo, timeout=60)
        wire.send(request("POST", "/", "Expect: 100-continue", "Content-Length: 5"))
        wire.pass_time(61)
        self.assertTrue(wire.closed)


class EarlyAnswerTests(SynchronousTestCase):
    """The reply is not lost."""

    def test_the_rest_is_discarded(self) -> None:
        """An answer before the body's end says so; the rest is thrown away, and its end ends the
        connection.
        """
        wire = Wire(turn_away)
        wire.send(request("POST", "/", "Content-Length: 10000000"))
        self.assertEqual(wire.statuses, [401])
        self.assertIn(b"Connection: close\r\n", wire.received)
        self.assertTrue(wire.socket.half_closed)
        self.assertFalse(wire.closed)
        wire.send(b"x" * 9_999_999, by=65536)
        self.assertEqual(wire.unsent, b"")
        self.assertFalse(wire.closed)
        wire.send(b"x")
        self.assertTrue(wire.closed)
        self.assertEqual(wire.clock.getDelayedCalls()[1:], [])  # only the log's clock is left

    def test_silence_ends_it(self) -> None:
        """After 5 seconds of silence the connection is closed, in order."""
        wire = Wire(turn_away)
        wire.send(request("POST", "/", "Content-Length: 10"))
        wire.pass_time(4)
        wire.send(b"1")
        wire.pass_time(4)
        self.assertFalse(wire.closed)
        wire.pass_time(1.5)
        self.assertTrue(wire.closed)
        self.assertFalse(wire.socket.aborted)

    def test_a_trickle_ends_too(self) -> None:
        """A client that sends a byte now and then is closed after 30 seconds."""
        wire = Wire(turn_away)
        wire.send(request("POST", "/", "Content-Length: 100"))
        for _ in range(29):
            wire.pass_time(1)
            wire.send(b"x")
        self.assertFalse(wire.closed)
        wire.pass_time(1.5)
        self.assertTrue(wire.closed)

    def test_a_paused_body_goes_on(self) -> None:
        """A body that was paused because nobody read it is taken in again, to be thrown away."""
        handler = Waiting()
        wire = Wire(handler)
        wire.send(request("POST", "/", body=b"x" * (8 * FULL)), by=65536)
        self.assertTrue(wire.unsent)
        handler.go.callback(b"enough")
        wire.flow(65536)
        self.assertEqual(wire.unsent, b"")
        self.assertTrue(wire.closed)

    def test_a_large_answer_has_time(self) -> None:
        """The silence is counted from the moment when the answer is out."""
        handler = Waiting()
        wire = Wire(handler)
        wire.send(request("POST", "/", "Content-Length: 10"))
        wire.channel.pauseProducing()  # what the transport does when much waits to be sent
        handler.go.callback(b"x" * 100_000)
        wire.pass_time(20)
        self.assertFalse(wire.socket.half_closed)
        wire.channel.resumeProducing()
        self.assertTrue(wire.socket.half_closed)
        wire.pass_time(6)
        self.assertTrue(wire.closed)

    def test_a_body_that_was_closed(self) -> None:
        """A handler that closes the body early goes on working while the rest is thrown away, and
        the connection stays.
        """

        async def impatient(request: Request) -> bytes:
            await request.body.aclose()
            await request.body.aclose()
            await working
            return b"done"

        working: Deferred[None] = Deferred()
        wire = Wire(impatient)
        wire.send(request("POST", "/", body=b"x" * (8 * FULL)) + request("GET", "/"), by=65536)
        working.callback(None)
        self.assertEqual(wire.statuses, [200, 200])
        self.assertFalse(wire.closed)


class LostTests(SynchronousTestCase):
    """The client goes away."""

    def test_mid_body(self) -> None:
        """Who reads is told, and so is notifyFinish."""
        wire = Wire(echo)
        wire.send(request("POST", "/", "Content-Length: 10") + b"12345")
        wire.lose()
        self.assertIsInstance(wire.resource.ended[0], ClientGone)
        self.assertEqual(len(wire.resource.lost), 1)
        self.assertEqual(wire.clock.getDelayedCalls()[1:], [])

    def test_what_came_is_not_an_end(self) -> None:
        """Whoever reads later gets what had come, and then the error: no body ends
        early by itself.
        """
        handler = Waiting()
        wire = Wire(handler)
        wire.send(request("POST", "/", body=b"x" * (4 * FULL)), by=65536)
        assert handler.request is not None
        wire.lose()
        self.failureResultOf(Deferred.fromCoroutine(echo(handler.request)), ClientGone)
        self.assertEqual(wire.clock.getDelayedCalls()[1:], [])
        handler.go.callback(None)

    def test_while_it_lingers(self) -> None:
        """A client that goes away after its early answer leaves no clock behind."""
        wire = Wire(turn_away)
        wire.send(request("POST", "/", "Content-Length: 10"))
        wire.lose()
        self.assertEqual(wire.clock.getDelayedCalls()[1:], [])

    def test_a_cancelled_reader(self) -> None:
        """A handler that is cancelled while it waits for the body leaves the body to the next
        reader.
        """
        handler = Waiting()
        wire = Wire(handler)
        wire.send(request("POST", "/", "Content-Length: 5"))
        assert handler.request is not None
        read = Deferred.fromCoroutine(echo(handler.request))
        read.addErrback(lambda _: None)
        read.cancel()
        wire.send(b"hello")
        self.assertEqual(
            self.successResultOf(Deferred.fromCoroutine(echo(handler.request))), b"/=hello"
        )


class AbsoluteFormTests(SynchronousTestCase):
    """Targets in absolute form, which a server must accept (RFC 9112, 3.2.2)."""

    def asked(
        self, target: str, method: str = "GET", host: str = "inner"
    ) -> tuple[list[int], list[tuple[bytes, str, bytes]]]:
        """The statuses, and the path, the host and the query that the handler sees."""
        seen = []

        async def look(request: Request) -> bytes:
            seen.append((request.path, request.base_host, request.uri.partition(b"?")[2]))
            return b""

        wire = Wire(look)
        wire.send(
            (
                f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: "
                f"{int(method == 'POST')}\r\n\r\n"
            ).encode()
        )
        wire.send(b"x" if method == "POST" else b"")
        return wire.statuses, seen

    def test_absolute_form_is_the_path(self) -> None:
        """The target's host replaces the Host header, with and without a body."""
        for method in ("GET", "POST"):
            for target, path, host, query in (
                (
                    "http://a.example/simple/foo/?x=http://b/",
                    b"/simple/foo/",
                    "a.example",
                    b"x=http://b/",
                ),
                ("HTTPS://a.example:8443/simple/", b"/simple/", "a.example:8443", b""),
                ("http://[::1]:6543", b"/", "[::1]:6543", b""),
                ("http://a.example?x=1", b"/", "a.example", b"x=1"),
            ):
                self.assertEqual(self.asked(target, method), ([200], [(path, host, query)]), target)

    def test_odd_hosts_are_refused(self) -> None:
        """A target without a host, with a user, or with what no host has is 400; so is one without
        a good Host header.
        """
        for target in ("http:///simple/", "http://user@a.example/", "http://a b/", "http://a|b/"):
            self.assertEqual(self.asked(target)[0], [400], target)
        self.assertEqual(self.asked("http://a.example/", host="a/b")[0], [400])


class FramingTests(SynchronousTestCase):
    """Requests that a proxy in front may read in another way."""

    def test_folded_header_is_refused(self) -> None:
        """A header field that goes on in the next line is 400 (RFC 9112, 5.2)."""
        for fold in (b" b", b"\tb", b" ", b"  Transfer-Encoding: chunked"):
            for field in (b"X-A: a\r\n", b""):  # also before any field
                wire = Wire(echo)
                wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + field + fold + b"\r\n\r\n")
                self.assertEqual(wire.statuses, [400], fold)
        wire = Wire(echo)
        wire.send(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n")
        self.assertEqual(wire.statuses, [400])

    def test_transfer_encoding_identity_is_refused(self) -> None:
        """`identity` is no transfer coding (RFC 9112, 7), with and without a length."""
        for lines in (
            ("Transfer-Encoding: identity",),
            ("Transfer-Encoding: Identity", "Content-Length: 1"),
            ("Content-Length: 1", "transfer-encoding: identity"),
            ("Transfer-Encoding: identity", "Transfer-Encoding: chunked"),
        ):
            wire = Wire(echo)
            wire.send(request("POST", "/", *lines))
            self.assertEqual(wire.statuses, [400], lines)


class RefusalTests(SynchronousTestCase):
    """What is not HTTP."""

    def refused(self, sent: bytes) -> bytes:
        reached: list[Request] = []

        async def never(request: Request) -> bytes:
            reached.append(request)
            return b""

        for by in (None, 1):
            wire = Wire(never)
            wire.send(sent, by=by)
            self.assertEqual((wire.statuses, reached), ([400], []), sent[:60])
            self.assertTrue(wire.socket.half_closed)
            wire.pass_time(6)
            self.assertTrue(wire.closed)
        return wire.received

    def test_hosts(self) -> None:
        """HTTP/1.1 needs exactly one good Host (RFC 9112, 3.2)."""
        self.assertIn(b"exactly one Host", self.refused(b"GET / HTTP/1.1\r\n\r\n"))
        self.refused(b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n")
        self.refused(b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n")
        self.refused(b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n")
        self.refused(b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n")
        self.refused(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello")

    def test_good_hosts(self) -> None:
        """HTTP/1.0 needs none; ports, addresses and an empty Host are good."""
        for sent in (
            b"GET / HTTP/1.0\r\n\r\n",
            *(b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % h for h in (b"", b"a:80", b"[::1]:8080")),
        ):
            wire = Wire(echo)
            wire.send(sent)
            self.assertIn(b" 200 OK", wire.received)

    def test_http_1_0_with_a_body(self) -> None:
        """HTTP/1.0 uploads work, and end the connection."""
        wire = Wire(echo)
        wire.send(b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello")
        self.assertTrue(wire.received.endswith(b"/=hello"))
        self.assertTrue(wire.closed)

    def test_smuggling(self) -> None:
        """A length that could be read in two ways is refused."""
        for headers in (
            b"Content-Length: 5\r\nContent-Length: 5",
            b"Content-Length: 5\r\nContent-Length: 6",
            b"Content-Length: 5\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 5",
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"Content-Length: +5",
            b"Content-Length: -5",
            b"Content-Length: 5, 5",
            b"Content-Length: 0x5",
            b"Content-Length: " + b"9" * 5000,
            b"Content-Length : 5",
        ):
            self.refused(b"POST / HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n\r\nhello")

    def test_broken_chunks(self) -> None:
        """Who reads a body with broken chunks gets `BadRequest`, which is a 400; the connection
        does not go on.
        """
        for broken in (
            b"zz\r\nhello\r\n",
            b"5\r\nhelloXX",
            b"-5\r\nhello\r\n",
            b"5" * 2000,
            b"0\r\n" + b"T: x\r\n" * 20_000,
        ):
            for by in (None, 7):
                wire = Wire(echo)
                wire.send(
                    request("POST", "/", "Transfer-Encoding: chunked")
                    + broken
                    + request("GET", "/2"),
                    by=by,
                )
                self.assertEqual(wire.statuses, [400], broken[:20])
                self.assertIn(b"chunked", wire.received)
                self.assertIsInstance(wire.resource.ended[0], BadRequest)
                wire.pass_time(6)
                self.assertTrue(wire.closed)
