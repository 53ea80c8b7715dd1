"""Pages of one other index: what is asked, what is understood, and every way to fail that a network
and a server have.
"""

from __future__ import annotations

from gzip import compress
from itertools import repeat

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred

from pypid.core.errors import BadListing, Loop, UpstreamDown
from pypid.core.model import Listing, Status
from pypid.core.packaging.names import project_name
from pypid.flow import start
from pypid.http_client.connections import Trust, certificates
from pypid.upstream import indexes
from pypid.upstream.indexes import connected
from tests.upstream.cases import OWN, SPAM, UpstreamCase
from tests.upstream.fake import J, Talk, authority_pem, certificate, page, raw, says, status

WHEEL = "spam-1.0-py3-none-any.whl"
GOOD = page(WHEEL)


def names_of(said: Listing) -> list[str]:
    """The files that an answer lists."""
    return [file.filename for file in said.files or ()]


class PageTests(UpstreamCase):
    """What goes well."""

    async def test_page(self) -> None:
        """A project is asked for by its normalised name, JSON first, and the answer is remembered
        with its ETag and time.
        """
        self.script(says(GOOD, Content_Type=J, ETag='W/"7"'))
        said = await self.asks().project(SPAM, None, ())
        self.assertEqual(names_of(said), [WHEEL])
        assert said.files is not None
        self.assertEqual(said.files[0].source, f"{self.fake.url}/files/{WHEEL}")
        self.assertEqual(
            (said.etag, said.index, said.confirmed), ('W/"7"', f"{self.fake.url}/simple/", self.now)
        )
        [asked] = self.fake.asked
        self.assertTrue(asked.headers["accept"].startswith(J))
        self.assertEqual(asked.headers["accept-encoding"], "gzip")
        self.assertTrue(asked.headers["user-agent"].startswith("pypid/"))
        self.assertNotIn("authorization", asked.headers)
        self.assertNotIn("if-none-match", asked.headers)

    async def test_status(self) -> None:
        """The project's status and its reason are part of what is remembered."""
        self.script(
            says(page(WHEEL, **{"project-status": {"status": "archived", "reason": "done"}}))
        )
        said = await self.asks().project(SPAM, None, ())
        self.assertEqual((said.status, said.status_reason), (Status.ARCHIVED, "done"))

    async def test_revalidation(self) -> None:
        """What is known is asked for by its ETag, and a 304 makes it fresh again; another index's
        ETag is not sent.
        """
        self.script(says(GOOD, ETag='"7"'))
        upstream = self.asks()
        known = await upstream.project(SPAM, None, ())
        self.script(says(code=304, ETag='"7"', Content_Length=""))
        again = await upstream.project(SPAM, known, ())
        self.assertEqual(self.fake.asked[-1].headers["if-none-match"], '"7"')
        self.assertEqual(again, evolve(known, confirmed=self.now))
        self.assertGreater(again.confirmed, known.confirmed)
        self.script(says(GOOD, ETag="7"))
        without = await upstream.project(SPAM, evolve(known, index="https://other.example/"), ())
        self.assertNotIn("if-none-match", self.fake.asked[-1].headers)
        self.assertIsNone(without.etag)  # it is none

    async def test_not_modified_unasked(self) -> None:
        """A 304 to somebody who knows nothing is no answer."""
        await self.page_fails(says(code=304, Content_Length=""), UpstreamDown)

    async def test_not_there(self) -> None:
        """404 and 410 are knowledge: the index does not have the project."""
        for code in (404, 410):
            self.script(status(code))
            said = await self.asks().project(SPAM, None, ())
            self.assertIsNone(said.files)
        self.assertEqual(self.warnings, [])

    async def test_wrong_content_type(self) -> None:
        """HTML that says it is JSON, JSON that says it is HTML, and pages that say nothing are read
        for what they are.
        """
        html = (
            f"<!DOCTYPE html><html><body><a "
            f'href="../../f/{WHEEL}#sha256={"a" * 64}">x</a></body></html>'
        ).encode()
        for body, kind in (
            (html, J),
            (GOOD, "text/html"),
            (html, ""),
            (GOOD, ""),
            (b"\xef\xbb\xbf" + GOOD, "x"),
        ):
            self.script(says(body, Content_Type=kind))
            said = await self.asks().project(SPAM, None, ())
            self.assertEqual(names_of(said), [WHEEL])

    async def test_gzip(self) -> None:
        """A page may come in gzip, in several members too."""
        self.script(says(compress(GOOD[:9]) + compress(GOOD[9:]), Content_Encoding="GZIP"))
        self.assertEqual(names_of(await self.asks().project(SPAM, None, ())), [WHEEL])

    async def test_chunks(self) -> None:
        """A page may come in chunks, and without any length from an old server."""
        body = (
            b"".join(b"%x\r\n%s\r\n" % (1, GOOD[i : i + 1]) for i in range(len(GOOD)))
            + b"0\r\n\r\n"
        )
        self.script(raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body))
        self.assertEqual(names_of(await self.asks().project(SPAM, None, ())), [WHEEL])
        self.script(raw(b"HTTP/1.0 200 OK\r\n\r\n" + GOOD, None))
        self.assertEqual(names_of(await self.asks().project(SPAM, None, ())), [WHEEL])

    async def test_one_connection(self) -> None:
        """Questions one after the other share a connection, also after a 404 and a redirect with
        small bodies.
        """
        self.script(says(GOOD))
        self.script(status(301, Location="/simple/spam/"), "/simple/ham/")
        upstream = self.asks()
        await upstream.project(SPAM, None, ())
        await upstream.project(project_name("nothing"), None, ())
        with self.assertRaises(BadListing):  # another project's page
            await upstream.project(project_name("ham"), None, ())
        self.assertEqual({asked.connection for asked in self.fake.asked}, {0})

    async def test_names(self) -> None:
        """All names, normalised and in order, from JSON and from HTML."""
        upstream = self.asks()
        for body in (
            b'{"meta":{"api-version":"1.1"},"projects":[{"name":"Spam"},{"name":"ham_eggs"},{"name":"-"},{"name":"spam"}]}',
            (
                b'<!DOCTYPE html><a href="/simple/Spam/">x</a><a class=x '
                b'href=../simple/ham.eggs>x</a><a href="/">up</a></html>'
            ),
        ):
            self.script(says(body), "/simple/")
            self.assertEqual(await upstream.names(()), ("ham-eggs", "spam"))

    async def test_no_names(self) -> None:
        """An index without a list of projects is no Simple API: that is said, and it is not an
        empty list.
        """
        error = await self.refused(self.asks().names(()), UpstreamDown)
        self.assertIn("[upstream] url", str(error))


class FailureTests(UpstreamCase):
    """What goes wrong is `UpstreamDown`, `BadListing` or `Loop`, soon, with a line in the log, and
    leaves nothing open.
    """

    async def test_statuses(self) -> None:
        """Everything but 200, 304, 404 and 410 is an index that is down; no password is right on
        401 and 403.
        """
        for code in (204, 206, 300, 400, 401, 403, 406, 429, 500, 502, 503, 504):
            error = await self.page_fails(status(code), UpstreamDown)
            self.assertIn(str(code), str(error))
            self.assertEqual("password" in str(error), code in (401, 403))
            self.assertEqual(error.timed_out, code == 504)
        error = await self.page_fails(status(429, Retry_After="77"), UpstreamDown)
        self.assertEqual(error.retry_after, 77)
        for nonsense in ("Wed, 21 Oct 2026 07:28:00 GMT", "-1", "9" * 5000, "²"):
            await self.page_fails(status(503, Retry_After=nonsense), UpstreamDown)

    async def test_trickle(self) -> None:
        """A page that comes a byte at a time for ever is given up as a whole."""
        self.patch(indexes, "PAGE_TIME", 0.5)
        self.patience = 2.0  # a machine that stalls is not a silent upstream

        async def script(talk: Talk) -> None:
            talk.send(b"HTTP/1.1 200 OK\r\n\r\n{")
            while not talk.gone:
                talk.send(b" ")
                await talk.wait(0.03)

        error = await self.page_fails(script, UpstreamDown)
        self.assertTrue(error.timed_out)
        self.assertIn("not whole within 0.5 seconds", str(error))

    async def test_endless_headers(self) -> None:
        """Headers without end, and 1xx answers without end, are given up by their size."""
        for piece in (b"X-Nothing: " + b"x" * 1000 + b"\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n"):

            async def script(talk: Talk, piece: bytes = piece) -> None:
                if piece.startswith(b"X"):
                    talk.send(b"HTTP/1.1 200 OK\r\n")
                await talk.pour(repeat(piece * 60))

            await self.page_fails(script, UpstreamDown)
            self.assertLess(self.fake.talks[-1].sent, 30 << 20)

    async def test_half_a_page_without_length(self) -> None:
        """Where nobody said how long the page is, half of it is not taken for all,
        in HTML neither.
        """
        await self.page_fails(raw(b"HTTP/1.0 200 OK\r\n\r\n" + GOOD[:50], None), BadListing)
        html = b'<html><body><a href="/f/%s">x</a>' % WHEEL.encode()
        await self.page_fails(raw(b"HTTP/1.0 200 OK\r\n\r\n" + html, None), BadListing)
        self.script(raw(b"HTTP/1.0 200 OK\r\n\r\n" + html + b"</body></html>", None))
        self.assertEqual(names_of(await self.asks().project(SPAM, None, ())), [WHEEL])

    async def test_lies_about_length(self) -> None:
        """A Content-Length that is too short, negative, no number, or of 5,000 digits leads to no
        listing.
        """
        await self.page_fails(says(GOOD, Content_Length="30"), BadListing)
        for length in ("-5", "x", "9" * 5000, "5, 6"):
            await self.page_fails(says(GOOD, Content_Length=length), UpstreamDown)

    async def test_cancelled(self) -> None:
        """Who goes away ends the question, in every state of it: nothing is left running."""
        for script in (
            raw(5.0),
            raw(b"HTTP/1.1 200 OK\r\n\r\n{"),
            says(code=302, Location="/elsewhere"),
        ):
            self.script(script)
            self.script(raw(5.0), "/elsewhere")
            asked = start(self.asks().project(SPAM, None, ()))
            await self.fake_has(len(self.fake.asked) + 1)
            asked.cancel()
            with self.assertRaises(CancelledError):
                await asked
        self.script(raw(0.0))
        self.assertTrue(await self.fake.all_gone())

    async def fake_has(self, count: int) -> None:
        """Wait until so many requests came."""
        while len(self.fake.asked) < count:
            pause: Deferred[None] = Deferred()
            self.reactor.callLater(0.01, pause.callback, None)
            await pause


class RedirectTests(UpstreamCase):
    """Redirects are followed by hand."""

    async def test_followed(self) -> None:
        """A redirect leads to the page, whose relative links count from where it was found."""
        self.script(status(301, Location="/other/spam/"))
        self.script(says(b'<html><a href="%s">x</a></html>' % WHEEL.encode()), "/other/spam/")
        said = await self.asks().project(SPAM, None, ())
        assert said.files is not None
        self.assertEqual(said.files[0].source, f"{self.fake.url}/other/spam/{WHEEL}")
        self.assertEqual(said.index, f"{self.fake.url}/simple/")

    async def test_circle(self) -> None:
        """A redirect in a circle is followed five times."""
        error = await self.page_fails(status(302, Location="/simple/spam/"), UpstreamDown)
        self.assertIn("redirects more than 5 times", str(error))
        self.assertEqual(len(self.fake.asked), 6)

    async def test_nowhere(self) -> None:
        """A redirect to what is no http or https URL is not followed, and one without Location is
        no answer.
        """
        for location in (
            "file:///etc/passwd",
            "ftp://host/",
            "http://",
            "https://[",
            "javascript:x",
            "//",
            "http://host:0/",
            "",
        ):
            await self.page_fails(status(302, Location=location), UpstreamDown)

    async def test_long_body(self) -> None:
        """A redirect with an endless body is followed without waiting for its end."""

        async def script(talk: Talk) -> None:
            talk.send(b"HTTP/1.1 302 Found\r\nLocation: /other/\r\n\r\n")
            await talk.pour(repeat(b"x" * 65536))

        self.script(script)
        self.script(says(GOOD), "/other/")
        self.assertEqual(names_of(await self.asks().project(SPAM, None, ())), [WHEEL])

    async def test_password(self) -> None:
        """User and password go to the index's origin as Basic, to no other host, port or scheme,
        and into no log or repr.
        """
        other = self.another()
        other.scripts["/there/"] = says(GOOD)
        self.script(status(302, Location="/inside/"))
        self.script(status(307, Location=f"{other.url}/there/"), "/inside/")
        upstream = self.asks(self.fake.url.replace("//", "//us%40er:open%3Asesame@") + "/simple")
        said = await upstream.project(SPAM, None, ())
        for asked in self.fake.asked:
            self.assertEqual(asked.headers["authorization"], "Basic dXNAZXI6b3BlbjpzZXNhbWU=")
        self.assertEqual(len(self.fake.asked), 2)
        [asked] = other.asked
        self.assertNotIn("authorization", asked.headers)
        await self.page_fails(status(401), UpstreamDown, upstream)
        for text in (repr(upstream), repr(said), *self.warnings):
            for secret in ("sesame", "dXNA", "us%40er"):
                self.assertNotIn(secret, text)

    async def test_password_comes_back(self) -> None:
        """A redirect away and back to the origin shows the password to nobody else on the way."""
        other = self.another()
        other.scripts["/there/"] = status(302, Location=f"{self.fake.url}/home/")
        self.script(status(302, Location=f"{other.url}/there/"))
        self.script(says(GOOD), "/home/")
        upstream = self.asks(self.fake.url.replace("//", "//user:sesame@") + "/simple")
        await upstream.project(SPAM, None, ())
        self.assertNotIn("authorization", other.asked[0].headers)
        self.assertNotIn("authorization", self.fake.asked[-1].headers)


class LoopTests(UpstreamCase):
    """A request that was here before goes no further."""

    async def test_chain(self) -> None:
        """Who asks us is named before us in Via."""
        self.script(says(GOOD))
        await self.asks().project(SPAM, None, ("pypid-first", "proxy"))
        self.assertEqual(
            self.fake.asked[0].headers["via"], f"1.1 pypid-first, 1.1 proxy, 1.1 {OWN}"
        )

    async def test_loop(self) -> None:
        """Our own name in the chain, or a chain without end, is a loop: nobody is asked."""
        for via in (("x", OWN), tuple(f"pypid-{i}" for i in range(16))):
            upstream = self.asks()
            await self.refused(upstream.project(SPAM, None, via), Loop)
            await self.refused(upstream.names(via), Loop)
            await self.refused(upstream.fetch(f"{self.fake.url}/x.whl", None, via), Loop)
        self.assertEqual(self.fake.asked, [])

    async def test_loop_further_on(self) -> None:
        """A loop that another pypid has found is a loop here."""
        await self.page_fails(status(508), Loop)


class TlsTests(UpstreamCase):
    """Who answers over TLS is verified."""

    def setUp(self) -> None:
        """Trust the fakes' authority."""
        super().setUp()
        self.reached = connected(
            self.reactor,
            Trust(certificates(authority_pem(), "[upstream] ca_certificates")),
            self.settings(),
        )

    async def test_good(self) -> None:
        """A certificate of an authority of the configuration is believed."""
        fake = self.another(certificate())
        fake.scripts["/simple/spam/"] = says(GOOD)
        self.assertEqual(
            names_of(await self.asks(f"{fake.url}/simple/").project(SPAM, None, ())), [WHEEL]
        )

    async def test_bad(self) -> None:
        """One that has expired, is for another host, or of an unknown authority is not, and the
        reason is said.
        """
        for made, reason in (
            (certificate(days=-1), "has expired"),
            (certificate("other.example"), "for another host"),
        ):
            fake = self.another(made)
            error = await self.page_fails(
                status(200), UpstreamDown, self.asks(f"{fake.url}/simple/")
            )
            self.assertIn(reason, str(error))
            self.assertEqual(fake.asked, [])
        fake = self.another(certificate())
        await self.reached.close()
        self.reached = connected(self.reactor, Trust(), self.settings())
        error = await self.page_fails(status(200), UpstreamDown, self.asks(f"{fake.url}/simple/"))
        self.assertIn("of an authority that is not known", str(error))

    async def test_no_tls(self) -> None:
        """A server that does not speak TLS where https is asked for is down."""
        await self.page_fails(
            status(200),
            UpstreamDown,
            self.asks(self.fake.url.replace("http:", "https:") + "/simple/"),
        )

    async def test_down_to_http(self) -> None:
        """A redirect from https to http is not followed: anybody on the way could answer."""
        fake = self.another(certificate())
        fake.scripts["/simple/spam/"] = status(302, Location=f"{self.fake.url}/simple/spam/")
        error = await self.page_fails(says(GOOD), UpstreamDown, self.asks(f"{fake.url}/simple/"))
        self.assertIn("from https to http", str(error))
        self.assertEqual(self.fake.asked, [])
