"""Whatever upstream does, a client of a whole pypid gets the right answer, soon, and pypid takes no
more memory for it.
"""

# trial and Twisted's transports are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from itertools import repeat

from tests.core.simple_api.test_parse_html import OTHER_PAGES
from tests.index.file_cache_cases import noise
from tests.upstream.fake import J, Script, Talk, page, raw, says, status
from tests.upstream.proxy import Got, Memory, ProxyCase

MIB = 1 << 20
HELD_BACK = 64 << 10
SOON = 3.0
"""Seconds; the fakes may be silent for 0.8 of them."""
KEPT = noise(1000)


def listing(name: str, *files: tuple[str, bytes], **more: object) -> bytes:
    """A page that lists files of these bytes, below ``/files/``."""
    entries = [
        {
            "filename": file,
            "url": f"/files/{file}",
            "hashes": {"sha256": sha256(data).hexdigest()},
            "size": len(data),
        }
        for file, data in files
    ]
    return json.dumps(
        {"meta": {"api-version": "1.4"}, "name": name, "files": entries, **more}
    ).encode()


def head(*lines: str) -> bytes:
    """The beginning of a 200."""
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode()


def endless(most: int) -> Iterator[bytes]:
    """So many bytes of a page that seems to go on."""
    yield b'{"meta": {"api-version": "1.4"}, "name": "spam", "files": ['
    yield from repeat(b" " * (1 << 16), most >> 16)


def pours(beginning: bytes, most: int) -> Script:
    """Send a head, and a page of so many bytes, as fast as it is taken."""

    async def script(talk: Talk) -> None:
        talk.send(beginning)
        await talk.pour(endless(most))
        talk.close()

    return script


async def resets(talk: Talk) -> None:
    """End the connection at once, as a crash does."""
    talk.reset()


async def resets_later(talk: Talk) -> None:
    """End it in the middle of a page."""
    talk.send(head("Content-Length: 1000", f"Content-Type: {J}") + b'{"meta"')
    await talk.wait(0.05)
    talk.reset()


@cache
def bomb() -> bytes:
    """80 MiB of a page, small on the wire."""
    return gzip.compress(b" " * (80 * MIB), 1)


async def explodes(talk: Talk) -> None:
    """Answer with that."""
    await says(bomb(), Content_Encoding="gzip", Content_Type=J)(talk)


PAGE_FAULTS: dict[str, tuple[Script, int]] = {
    "no answer": (raw(2.0), 503),
    "silence in the head": (raw(b"HTTP/1.1 200 OK\r\nContent-Le", 2.0), 503),
    "silence in the page": (raw(head("Content-Length: 1000") + b'{"meta"', 2.0), 503),
    "reset": (resets, 503),
    "reset in the page": (resets_later, 503),
    "closed": (raw(None), 503),
    "longer than it is": (
        raw(head("Content-Length: 99999", f"Content-Type: {J}") + listing("x"), None),
        503,
    ),
    "shorter than it is": (says(listing("x"), Content_Length="20", Content_Type=J), 502),
    "cut, without a length": (raw(head(f"Content-Type: {J}") + listing("x")[:-9], None), 502),
    "cut html": (
        raw(head("Content-Type: text/html") + b'<!DOCTYPE html><html><body><a href="x', None),
        502,
    ),
    "no length at all": (raw(head("Content-Length: many") + b"{}", None), 503),
    "500": (status(500), 503),
    "502": (status(502), 503),
    "503": (status(503, Retry_After="7"), 503),
    "504": (status(504), 503),
    "401": (status(401, WWW_Authenticate="Basic"), 503),
    "403": (status(403), 503),
    "429": (status(429), 503),
    "204": (says(b"", 204), 503),
    "304 to nothing": (says(b"", 304), 503),
    "redirect to nowhere": (status(302, Location="ftp://localhost/x"), 503),
    "redirect to another scheme": (status(302, Location="file:///etc/passwd"), 503),
    "redirect to a closed port": (status(302, Location="http://localhost:1/x"), 503),
    "no http": (raw(b"SSH-2.0-OpenSSH_9.2\r\n", None), 503),
    "an endless head": (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000, None), 503),
    "major 2": (says(page(meta={"api-version": "2.0"}), Content_Type=J), 502),
    "another project's": (says(listing("eggs"), Content_Type=J), 502),
    "not json": (says(b"[1, 2", Content_Type=J), 502),
    "unknown encoding": (says(b"\x00", Content_Encoding="br", Content_Type=J), 502),
    "not gzip": (says(b"{}", Content_Encoding="gzip", Content_Type=J), 502),
    "a bomb": (explodes, 502),
    "ten gigabytes, announced": (
        pours(head(f"Content-Length: {10 << 30}", f"Content-Type: {J}"), 10 << 30),
        502,
    ),
    "a hundred megabytes, not announced": (pours(head(f"Content-Type: {J}"), 100 * MIB), 502),
    **{
        what: (says(html.encode(), Content_Type="text/html"), 502)
        for what, html in OTHER_PAGES.items()
    },
}
"""What may happen to the page of a project, and what a client gets who asks for the first time."""


class PageFaultTests(ProxyCase):
    """Pages that do not come."""

    timeout = 60

    async def setUp(self) -> None:
        """Have the bomb ready: to make it takes longer than pypid waits here."""
        bomb()
        await super().setUp()

    async def asked(self, name: str) -> Got:
        """The answer, within bounded time and memory; one line of the log names the project, and
        says what is wrong.
        """
        del self.logged[:]
        with Memory(self.reactor) as memory:
            answer = await self.proxy.page(name)
        self.assertLess(answer.seconds, SOON)
        self.assertLess(memory.growth, 200 * MIB)
        self.assertEqual(len(self.lines(f" for the page of '{name}' failed")), 1, self.logged)
        return answer

    async def test_nothing_known(self) -> None:
        """Of a project that was never heard of: 502, 503 or 504, never 404, and words for people
        (C36).
        """
        for number, (what, (script, code)) in enumerate(PAGE_FAULTS.items()):
            name = f"bad-{number}"
            self.script(script, f"/simple/{name}/")
            self.proxy.pass_time()
            answer = await self.asked(name)
            self.assertEqual(answer.status, code, (what, answer.text))
            self.assertIn("upstream index", answer.text.lower(), what)
            self.assertEqual(answer.head.get("retry-after"), "7" if what == "503" else None, what)
        self.assertEqual(await self.proxy.stored(), [])

    async def test_stale(self) -> None:
        """Of a project that it knows: the page as it was, whole (C36)."""
        for number, (what, (script, _)) in enumerate(PAGE_FAULTS.items()):
            name = f"bad-{number}"
            kept, other = f"bad_{number}-1.0.tar.gz", f"bad_{number}-2.0.tar.gz"
            good = says(
                listing(name, (kept, KEPT), (other, noise(2000))), Content_Type=J, ETag='"1"'
            )
            self.script(good, f"/simple/{name}/")
            self.script(says(KEPT), f"/files/{kept}")
            self.proxy.pass_time()
            self.assertEqual((await self.proxy.page(name)).files, [kept, other], what)
            self.assertEqual((await self.proxy.get(f"/packages/{name}/{kept}")).body, KEPT)
            await self.proxy.idle()
            self.script(says(b"", 200) if what.startswith("304") else script, f"/simple/{name}/")
            self.proxy.pass_time()
            answer = await self.asked(name)
            self.assertEqual(answer.status, 200, (what, answer.text))
            self.assertEqual(answer.files, [kept, other], what)
            self.assertEqual(
                len(self.lines(f"upstream is unavailable for {name}, its listing of")), 1, what
            )
            self.assertEqual((await self.proxy.get(f"/packages/{name}/{kept}")).body, KEPT)
            self.assertEqual(
                (await self.proxy.get(f"/local/{name}/", f"Accept: {J}")).files, [kept], what
            )
            self.script(good, f"/simple/{name}/")
            self.proxy.pass_time()
            self.assertEqual((await self.proxy.page(name)).files, [kept, other], what)
