"""Whatever upstream does with a file: nothing wrong is stored, a client is never left with bytes
that look whole, and one fetch is enough for all.
"""

# trial and Twisted's transports are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import gzip

from twisted.internet.task import deferLater

from tests.index.file_cache_cases import noise
from tests.live.test_upstream_faults import HELD_BACK, MIB, SOON, head, listing
from tests.upstream.fake import J, Script, Talk, page, raw, says, status
from tests.upstream.proxy import Memory, ProxyCase

SMALL, LARGE = noise(3000), noise(300_000)
WRONG = {len(data): noise(len(data) + 1)[1:] for data in (SMALL, LARGE)}
"""Other bytes, of the same length."""


def cut(data: bytes, pause: float = 0.0, *lines: str) -> Script:
    """Announce all, send the first nine tenths, wait, and end the connection."""
    return raw(
        head(f"Content-Length: {len(data)}", *lines) + data[: len(data) * 9 // 10], pause, None
    )


def chunked(*chunks: bytes) -> bytes:
    """The body in chunks, whole."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def reset_after(data: bytes) -> Script:
    """Announce all, send most of it, and crash."""

    async def script(talk: Talk) -> None:
        talk.send(head(f"Content-Length: {len(data)}") + data[: len(data) * 9 // 10])
        await talk.wait(0.1)
        talk.reset()

    return script


def faults(data: bytes) -> dict[str, tuple[Script, int]]:
    """What may happen to a file, and what a client gets that could still be told."""
    wrong = WRONG[len(data)]
    return {
        "wrong bytes": (says(wrong), 502),
        "wrong bytes, in chunks": (
            raw(head("Transfer-Encoding: chunked") + chunked(wrong[:999], wrong[999:])),
            502,
        ),
        "cut": (cut(data), 503),
        "cut, without a length": (raw(head() + data[:-1], None), 503),
        "cut chunks": (
            raw(head("Transfer-Encoding: chunked") + chunked(data[:-7])[:-5], None),
            503,
        ),
        "reset": (reset_after(data), 503),
        "silence": (cut(data, 2.0), 503),
        "no answer": (raw(2.0), 503),
        "too short, and says so": (says(data[:-1]), 502),
        "too long, and says so": (says(data + b"x"), 502),
        "too long, in chunks": (raw(head("Transfer-Encoding: chunked") + chunked(data, b"x")), 502),
        "lies: shorter than announced": (
            raw(head(f"Content-Length: {len(data)}") + data[:-1], None),
            503,
        ),
        "lies: longer than announced": (says(data, Content_Length=str(len(data) - 1)), 502),
        "500": (status(500), 503),
        "403": (status(403), 503),
        "404": (status(404), 404),
        "unknown encoding": (says(data, Content_Encoding="br"), 503),
        "half of the gzip": (says(gzip.compress(data)[:-20], Content_Encoding="gzip"), 502),
        "redirect to nowhere": (status(302, Location="gopher://localhost/x"), 503),
    }


class FileFaultTests(ProxyCase):
    """Files that do not come as they should."""

    timeout = 60

    async def listed(self, name: str, filename: str, data: bytes) -> str:
        """Have upstream list the file; its path here."""
        self.script(says(listing(name, (filename, data)), Content_Type=J), f"/simple/{name}/")
        self.proxy.pass_time()
        self.assertEqual((await self.proxy.page(name)).files, [filename])
        return f"/packages/{name}/{filename}"

    async def test_every_fault(self) -> None:
        """Nothing of it is stored. Of a large file the client misses at least the last 64 KiB of
        what was announced, by the end of the connection; of a small one it gets an error, and no
        byte. The log says why, and the next try is a new one.
        """
        for data in (SMALL, LARGE):
            for number, (what, (script, code)) in enumerate(faults(data).items()):
                name, filename = f"bad-{number}-{len(data)}", f"bad_{number}_{len(data)}-1.0.tar.gz"
                path = await self.listed(name, filename, data)
                self.script(script, f"/files/{filename}")
                del self.logged[:]
                answer = await self.proxy.get(path)
                await self.proxy.idle()
                self.assertLess(answer.seconds, SOON, what)
                self.assertEqual(
                    [key for key in await self.proxy.stored() if name in key], [], what
                )
                self.assertTrue(self.lines(filename), what)
                if answer.status in (0, 200):
                    self.assertIs(data, LARGE, what)
                    self.assertEqual(
                        answer.announced if answer.status else len(LARGE), len(LARGE), what
                    )
                    self.assertLessEqual(len(answer.body), len(data) - HELD_BACK, what)
                else:
                    self.assertEqual(answer.status, code, (what, answer.text))
                    self.assertNotIn(data[:100], answer.body)
                self.script(says(data), f"/files/{filename}")
                self.proxy.pass_time()
                again = await self.proxy.get(path)
                self.assertEqual((again.status, again.body == data), (200, True), what)
                await self.proxy.idle()
                self.assertTrue(any(name in key for key in await self.proxy.stored()), what)

    async def test_endless(self) -> None:
        """A file that is listed without a size, and of which ten gigabytes come, costs no memory;
        who goes away is not waited for in the end.
        """
        entry = {
            "filename": "spam-1.0.tar.gz",
            "url": "/files/spam-1.0.tar.gz",
            "hashes": {"sha256": "a" * 64},
        }
        self.script(says(page(files=[entry]), Content_Type=J))

        async def pours(talk: Talk) -> None:
            talk.send(head(f"Content-Length: {10 << 30}"))
            await talk.pour(iter(lambda: bytes(MIB), None))

        self.script(pours, "/files/spam-1.0.tar.gz")
        with Memory(self.reactor) as memory:
            client = self.proxy.send("/packages/spam/spam-1.0.tar.gz")
            for _ in range(100):
                await deferLater(self.reactor, 0.01)
                del client.came[:]
        client.transport.abortConnection()
        self.assertLess(memory.growth, 64 * MIB)
        for talk in tuple(self.fake.open):
            talk.reset()
        await self.proxy.idle()
        self.assertEqual(await self.proxy.stored(), [])
