"""Bad pages of an upstream index, as a kind of the gauntlet."""

# trial and Twisted's transports are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import gzip
import json
from typing import Final

from tests.index.file_cache_cases import noise
from tests.live.gauntlet.tally import FULL, Tally
from tests.live.test_upstream_faults import MIB, PAGE_FAULTS, around, bomb, head, listing
from tests.upstream.fake import J, Script, Talk, raw, says
from tests.upstream.proxy import Memory, ProxyCase

CACHED: Final = noise(1000)
WITHIN: Final = 12.0
"""Seconds until a client has its answer: pypid waits 10 for a page that comes slowly, and pip gives
up after 15.
"""
MOST_MEMORY: Final = 200 * MIB
HTML: Final = "text/html; charset=utf-8"

NGINX: Final = b"""<html>
<head><title>502 Bad Gateway</title></head>
<body>
<center><h1>502 Bad Gateway</h1></center>
<hr><center>nginx/1.22.1</center>
</body>
</html>
"""
MAINTENANCE: Final = b"""<!DOCTYPE html><html><head><title>We'll be right back</title></head><body><h1>Maintenance</h1>
<p>The service is being upgraded. See the <a href="https://status.example.com/">status page</a>.</p></body></html>"""
PORTAL: Final = b"""<!DOCTYPE html><html><head><title>Guest Wi-Fi</title></head><body><form action="/login" method="post">
<a href="/terms">Terms of use</a><input name="user"><input type="submit" value="Connect"></form></body></html>"""
LOGIN: Final = b"""<!DOCTYPE html><html><head><title>Sign in</title></head>
<body><a href="/sso?next=/simple/">Sign in</a></body></html>"""


async def trickles(talk: Talk) -> None:
    """Send a page, one byte at a time, for half a minute."""
    talk.send(head("Content-Length: 100000", f"Content-Type: {J}"))
    for _ in range(150):
        if talk.gone:
            return
        talk.send(b" ")
        await talk.wait(0.2)
    talk.close()


async def trickles_headers(talk: Talk) -> None:
    """Send header fields, one at a time, for half a minute."""
    talk.send(b"HTTP/1.1 200 OK\r\n")
    for number in range(150):
        if talk.gone:
            return
        talk.send(b"X-Field-%d: x\r\n" % number)
        await talk.wait(0.2)
    talk.close()


def bad_pages() -> dict[str, Script]:
    """Answers to the question for a project's page that are none; all but those of `PAGE_FAULTS`
    have status 200.
    """
    return {
        "nginx's 502 page": says(NGINX, Content_Type="text/html"),
        "a bare heading": says(b"<h1>It works!</h1>", Content_Type=HTML),
        "a maintenance page": says(MAINTENANCE, Content_Type=HTML),
        "a captive portal": says(PORTAL, Content_Type=HTML),
        "a login page": says(LOGIN, Content_Type=HTML),
        "an empty body": says(b"", Content_Type=HTML),
        "an empty body in JSON": says(b"", Content_Type=J),
        "only white space": says(b" \r\n ", Content_Type=HTML),
        "no content type": says(NGINX, Content_Type=""),
        "plain text": says(b"OK\n", Content_Type="text/plain"),
        "a picture": says(b"\x89PNG\r\n\x1a\n" + bytes(100), Content_Type="image/png"),
        "JSON of an API": says(b'{"error": "internal"}', Content_Type="application/json"),
        "JSON null": says(b"null", Content_Type=J),
        "JSON without files": says(
            b'{"meta": {"api-version": "1.1"}, "name": "x"}', Content_Type=J
        ),
        "JSON that says it is HTML": says(b'{"files": []}', Content_Type=HTML),
        "HTML that says it is JSON": says(NGINX, Content_Type=J),
        "deep JSON": says(b"[" * 100_000, Content_Type=J),
        "large numbers": says(
            b'{"meta": {"api-version": ' + b"9" * 100_000 + b"}}", Content_Type=J
        ),
        "no UTF-8": says(b'{"name": "\xff\xfe"}', Content_Type=J),
        "the wrong project": says(listing("another"), Content_Type=J),
        "the wrong project in HTML": says(
            b"<html><head><title>Links for another</title></head></html>", Content_Type=HTML
        ),
        "gzip in gzip": says(
            gzip.compress(gzip.compress(NGINX)), Content_Encoding="gzip", Content_Type=HTML
        ),
        "early hints, and no more": raw(
            b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 1.0, None
        ),
        "endless interim answers": raw(*[b"HTTP/1.1 102 Processing\r\n\r\n" * 1000] * 20, None),
        "a protocol switch": raw(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", 1.0, None
        ),
        "two lengths": raw(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}    ", None
        ),
        "a negative length": raw(head("Content-Length: -1") + b"{}", None),
        "chunks without end": raw(head("Transfer-Encoding: chunked") + b"5\r\nhello\r\n", None),
        "chunks that are none": raw(head("Transfer-Encoding: chunked") + b"zz\r\nhello\r\n", None),
        "a trickling page": trickles,
        "trickling headers": trickles_headers,
        **{what: script for what, (script, _) in PAGE_FAULTS.items() if not what.startswith("304")},
    }


SHORT: Final = (
    "nginx's 502 page",
    "a captive portal",
    "an empty body",
    "deep JSON",
    "endless interim answers",
    "a bomb",
    "500",
)
"""The kinds of the short form."""


class UpstreamPageTests(ProxyCase):
    """A pypid in front of an upstream index that answers nonsense for a project
    that pypid knows.
    """

    timeout = 600

    async def setUp(self) -> None:
        bomb()  # to make it takes longer than pypid waits
        await super().setUp()

    async def test_cached_files_stay_installable_whatever_upstream_answers(self) -> None:
        """The page lists the cached file, which downloads, in bounded time and memory; the next
        good page is believed.
        """
        tally = Tally("bad upstream pages")
        for number, (what, script) in enumerate(bad_pages().items()):
            if FULL or what in SHORT:
                tally.trial(what, *await self.problems(f"bad-{number}", what, script))
        for number, ways in enumerate((1, 2, 20)):
            if FULL:
                name = f"round-{number}"
                self.fake.scripts.update(around(f"/simple/{name}/", ways))
                circle = self.fake.scripts[f"/simple/{name}/"]
                tally.trial(
                    f"{ways} redirects in a circle", *await self.problems(name, "a circle", circle)
                )
        tally.close()

    async def problems(self, name: str, what: str, script: Script) -> list[str]:
        """What is wrong while a known project's page is answered so, and afterwards."""
        filename = f"{name.replace('-', '_')}-1.0.tar.gz"
        good = says(listing(name, (filename, CACHED)), Content_Type=J)
        self.script(good, f"/simple/{name}/")
        self.script(says(CACHED), f"/files/{filename}")
        self.proxy.pass_time()
        if (await self.proxy.page(name)).files != [filename]:
            return ["it is not listed before"]
        if (await self.proxy.get(f"/packages/{name}/{filename}")).body != CACHED:
            return ["it does not download before"]
        await self.proxy.idle()
        self.script(script, f"/simple/{name}/")
        found = []
        for turn in ("once", "again"):
            self.proxy.pass_time()
            with Memory(self.reactor) as memory:
                answer = await self.proxy.page(name)
            found += self.seen(f"asked {turn}", answer.status, answer.body, filename)
            if answer.seconds > WITHIN:
                found.append(f"asked {turn}: the page took {answer.seconds:.1f} s")
            if memory.growth > MOST_MEMORY:
                found.append(f"asked {turn}: {memory.growth >> 20} MiB more memory")
            got = await self.proxy.get(f"/packages/{name}/{filename}")
            if got.body != CACHED:
                found.append(f"asked {turn}: the cached file does not download: {got.status}")
            local = await self.proxy.get(f"/local/{name}/", f"Accept: {J}")
            found += self.seen(f"asked {turn}, below /local/", local.status, local.body, filename)
        self.script(good, f"/simple/{name}/")
        self.proxy.pass_time()
        await self.proxy.idle()
        again = await self.proxy.page(name)
        return found + self.seen("afterwards", again.status, again.body, filename)

    @staticmethod
    def seen(when: str, code: int, body: bytes, filename: str) -> list[str]:
        """What is wrong with a page that has to list the file."""
        if b"Traceback" in body:
            return [f"{when}: a traceback"]
        if code != 200:
            return [f"{when}: {code} {body[:200].decode(errors='replace')}"]
        listed = [file["filename"] for file in json.loads(body)["files"]]
        return [] if filename in listed else [f"{when}: listed are {listed}"]
