"""Whatever upstream does with a file: nothing wrong is stored, a client is never left with bytes
that look whole, and one fetch is enough for all.
"""

# trial and Twisted's transports are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import gzip
import hashlib
from hashlib import sha256

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater

from pypid.core.packaging.names import project_name
from pypid.core.records.layout import kept_key
from pypid.flow import start
from pypid.http_client.circuit_breaker import STRIKES
from tests.distributions import metadata, wheel
from tests.index.file_cache_cases import noise
from tests.live.test_upstream_faults import HELD_BACK, MIB, SOON, around, head, listing
from tests.upstream.fake import J, Script, Talk, page, raw, says, status
from tests.upstream.proxy import Got, Memory, ProxyCase

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

    async def test_single_5xx_of_a_file_is_not_seen(self) -> None:
        """A file that fails once or twice and then comes is whole, for pypid asks again."""
        path = await self.listed("spam", "spam-1.0.tar.gz", LARGE)
        answers = [status(503), status(500), says(LARGE)]

        async def script(talk: Talk) -> None:
            await answers.pop(0)(talk)

        self.script(script, "/files/spam-1.0.tar.gz")
        answer = await self.proxy.get(path)
        self.assertEqual((answer.status, answer.body == LARGE, answers), (200, True, []))

    async def test_dead_link_does_not_hurt_other_projects(self) -> None:
        """While one client asks three times a second for a file that upstream fails at, of 1,000
        requests for other projects, pages never asked for before and files, none is refused. The
        page goes on to list the newest release.
        """
        self.proxy = self.start(
            patience=20.0
        )  # else a machine that is busy is taken for an upstream that is silent
        names = [f"other-{number}" for number in range(500)]
        for name in names:
            self.script(
                says(listing(name, (f"{name}-1.0.tar.gz", SMALL)), Content_Type=J),
                f"/simple/{name}/",
            )
            self.script(says(SMALL), f"/files/{name}-1.0.tar.gz")
        old, new = "victim-1.0.tar.gz", "victim-2.0.tar.gz"
        self.script(
            says(listing("victim", (old, SMALL), (new, LARGE)), Content_Type=J), "/simple/victim/"
        )
        self.script(says(SMALL), f"/files/{old}")
        self.script(status(502), f"/files/{new}")
        self.assertEqual((await self.proxy.get(f"/packages/victim/{old}")).status, 200)
        attack: list[Deferred[Got]] = []
        attacking = LoopingCall(
            lambda: attack.append(start(self.proxy.get(f"/packages/victim/{new}")))
        )
        attacking.start(1 / 3)
        refused: list[tuple[str, int]] = []
        for first in range(0, len(names), 50):
            await deferLater(self.reactor, 1.5)  # no answer comes between some failures of the link
            for name in names[first : first + 50]:
                answers = (
                    await self.proxy.page(name),
                    await self.proxy.get(f"/packages/{name}/{name}-1.0.tar.gz"),
                )
                refused += [(name, answer.status) for answer in answers if answer.status != 200]
        attacking.stop()
        self.assertEqual(
            refused,
            [],
            f"{len(refused)} of {2 * len(names)} requests for other projects were refused",
        )
        self.assertEqual({answer.status for answer in await gatherResults(attack)}, {503})
        self.assertGreater(len(attack), 10 * STRIKES)
        self.assertEqual((await self.proxy.page("victim")).files, [old, new])

    test_dead_link_does_not_hurt_other_projects.timeout = 180  # type: ignore[attr-defined]

    async def test_host_of_files_that_is_gone_hides_nothing(self) -> None:
        """With files on a host that refuses connections the page goes on to list them, and each is
        an error.
        """
        gone = self.another()
        entries = [
            {"filename": filename, "url": f"{gone.url}/{filename}", "hashes": {"sha256": "a" * 64}}
            for filename in ("victim-1.0.tar.gz", "victim-2.0.tar.gz")
        ]
        self.script(says(page(name="victim", files=entries), Content_Type=J), "/simple/victim/")
        await gone.port.stopListening()
        for _ in range(2 * STRIKES):
            self.assertEqual(
                (await self.proxy.page("victim")).files, ["victim-1.0.tar.gz", "victim-2.0.tar.gz"]
            )
            self.assertEqual(
                (await self.proxy.get("/packages/victim/victim-2.0.tar.gz")).status, 503
            )
        self.assertEqual((await self.proxy.page("unknown")).status, 404)
        self.assertFalse(self.proxy.index.gate.breaker.is_down)

    async def test_both_hashes(self) -> None:
        """The log names the hash that was listed and the one that came, in one line, for a large
        file and for a small one, whose client is told them as well.
        """
        for data in (SMALL, LARGE):
            wrong = WRONG[len(data)]
            path = await self.listed(f"spam-{len(data)}", f"spam_{len(data)}-1.0.tar.gz", data)
            self.script(says(wrong), f"/files/spam_{len(data)}-1.0.tar.gz")
            answer = await self.proxy.get(path)
            hashes = sha256(data).hexdigest(), sha256(wrong).hexdigest()
            self.assertTrue(self.lines(f"spam_{len(data)}-1.0.tar.gz", *hashes), self.logged)
            if data is LARGE:
                self.assertIn(answer.status, (0, 200))
                self.assertLessEqual(len(answer.body), len(data) - HELD_BACK)
                self.assertTrue(wrong.startswith(answer.body))
            else:
                self.assertEqual(answer.status, 502)
                self.assertTrue(all(digest in answer.text for digest in hashes))
        self.assertEqual(await self.proxy.stored(), [])

    async def test_other_hashes(self) -> None:
        """A file that is listed with another hash than sha256 is proven by that one."""
        for number, algorithm in enumerate(("md5", "sha512", "blake2b")):
            name, filename = f"spam-{number}", f"spam_{number}-1.0.tar.gz"
            entry = {"filename": filename, "url": f"/files/{filename}", "size": len(LARGE)}
            entry["hashes"] = {algorithm: hashlib.new(algorithm, LARGE).hexdigest()}
            self.script(says(page(name=name, files=[entry]), Content_Type=J), f"/simple/{name}/")
            self.script(says(WRONG[len(LARGE)]), f"/files/{filename}")
            answer = await self.proxy.get(f"/packages/{name}/{filename}")
            self.assertLessEqual(len(answer.body), len(LARGE) - HELD_BACK)
            await self.proxy.idle()
            self.assertEqual([key for key in await self.proxy.stored() if name in key], [])
            self.script(says(LARGE), f"/files/{filename}")
            self.assertEqual((await self.proxy.get(f"/packages/{name}/{filename}")).body, LARGE)

    async def test_gzip(self) -> None:
        """A file that comes with a Content-Encoding that was not asked for is had as it is listed,
        packed or not.
        """
        packed = gzip.compress(LARGE)
        path = await self.listed("spam", "spam-1.0-py3-none-any.whl", LARGE)
        self.script(says(packed, Content_Encoding="gzip"), "/files/spam-1.0-py3-none-any.whl")
        answer = await self.proxy.get(path)
        self.assertEqual(
            (answer.body == LARGE, answer.whole, answer.head.get("content-encoding")),
            (True, True, None),
        )
        path = await self.listed(
            "eggs", "eggs-1.0.tar.gz", packed
        )  # and a server that takes a tarball's type for its encoding
        self.script(
            says(packed, Content_Encoding="gzip", Content_Type="application/x-tar"),
            "/files/eggs-1.0.tar.gz",
        )
        answer = await self.proxy.get(path)
        self.assertEqual(
            (answer.body == packed, answer.whole, answer.head.get("content-encoding")),
            (True, True, None),
        )

    async def test_circles(self) -> None:
        """A file whose URL redirects in a circle is 503."""
        path = await self.listed("spam", "spam-1.0.tar.gz", SMALL)
        self.fake.scripts.update(around("/files/spam-1.0.tar.gz", 3))
        answer = await self.proxy.get(path)
        self.assertEqual(answer.status, 503)
        self.assertIn("redirects more than", answer.text)

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

    async def test_metadata(self) -> None:
        """Metadata that are not what the page promises, or do not come, are an error, never 404,
        and are not stored; those of a wheel that upstream lists and does not have are read out of
        the wheel.
        """
        good, data = metadata("spam", "1.0"), wheel("spam", "1.0")
        filename = "spam-1.0-py3-none-any.whl"
        digest = sha256(good).hexdigest()
        entry = {
            "filename": filename,
            "url": f"/files/{filename}",
            "hashes": {"sha256": sha256(data).hexdigest()},
            "size": len(data),
            "core-metadata": {"sha256": digest},
        }
        self.script(says(page(files=[entry]), Content_Type=J))
        self.script(ranged(data), f"/files/{filename}")
        path = f"/packages/spam/{filename}.metadata"
        for script, code in (
            (says(b"Name: evil\n"), 502),
            (says(good, Content_Encoding="br"), 503),
            (cut(good), 503),
            (raw(2.0), 503),
            (status(500), 503),
        ):
            self.script(script, f"/files/{filename}.metadata")
            self.proxy.pass_time()
            await self.proxy.page("spam")
            answer = await self.proxy.get(path)
            self.assertEqual(answer.status, code, answer.text)
            self.assertLess(answer.seconds, SOON)
            self.assertEqual(await self.proxy.stored(), [])
        self.script(status(404), f"/files/{filename}.metadata")
        self.proxy.pass_time()
        answer = await self.proxy.get(path)
        self.assertEqual((answer.status, answer.body), (200, good))


def ranged(data: bytes) -> Script:
    """A server that knows ranges."""

    async def script(talk: Talk) -> None:
        asked = talk.fake.asked[-1].headers.get("range")
        if asked is None:
            return talk.answer(data)
        start, _, last = asked.removeprefix("bytes=").partition("-")
        part = data[int(start) : int(last) + 1]
        return talk.answer(part, 206, Content_Range=f"bytes {start}-{last}/{len(data)}")

    return script


class Slow:
    """Sends a file in as many pieces as the test lets go."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.sent = 0
        self.talks: list[Talk] = []

    async def __call__(self, talk: Talk) -> None:
        self.talks.append(talk)
        talk.send(head(f"Content-Length: {len(self.data)}"))

    def go(self, stop: int) -> None:
        """Send all up to there."""
        self.talks[0].send(self.data[self.sent : stop])
        self.sent = stop


class OneFetchTests(ProxyCase):
    """One fetch, however many ask, and whoever goes away."""

    timeout = 60
    patience = 5.0
    data = noise(4 * MIB)
    path = "/packages/spam/spam-1.0.tar.gz"

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.script(says(listing("spam", ("spam-1.0.tar.gz", self.data)), Content_Type=J))
        self.slow = Slow(self.data)
        self.script(self.slow, "/files/spam-1.0.tar.gz")

    async def begun(self) -> None:
        """Wait until upstream is asked for it."""
        while not self.slow.talks:
            await deferLater(self.reactor, 0.01)

    def files_asked(self) -> int:
        return sum(asked.path.startswith("/files/") for asked in self.fake.asked)

    async def test_twenty(self) -> None:
        """Twenty at once and five late ones get it as it comes, all of it, by one fetch; the last
        part once it is proven.
        """
        clients = [self.proxy.send(self.path) for _ in range(20)]
        await self.begun()
        self.slow.go(MIB)
        await gatherResults([start(client.until(MIB)) for client in clients])
        late = [self.proxy.send(self.path) for _ in range(5)]
        await gatherResults([start(client.until(MIB)) for client in late])
        self.slow.go(len(self.data) - 1)
        clients += late
        await gatherResults([start(client.until(len(self.data) - HELD_BACK)) for client in clients])
        await deferLater(self.reactor, 0.05)
        self.assertEqual({len(client.body()) for client in clients}, {len(self.data) - HELD_BACK})
        self.slow.go(len(self.data))
        await gatherResults([client.ended for client in clients])
        self.assertEqual({client.body() == self.data for client in clients}, {True})
        self.assertEqual((await self.proxy.get(self.path)).body, self.data)
        self.assertEqual(self.files_asked(), 1)

    async def test_wrong_at_the_end(self) -> None:
        """Where the very last byte is wrong all who read have exactly the bytes that are not held
        back, and the end of the connection; a part that one asks for meanwhile is none of those.
        """
        clients = [self.proxy.send(self.path) for _ in range(3)]
        await self.begun()
        self.slow.go(len(self.data) - 1)
        await gatherResults([start(client.until(len(self.data) - HELD_BACK)) for client in clients])
        tail = self.proxy.send(self.path, "Range: bytes=-10")
        await deferLater(self.reactor, 0.05)
        self.slow.talks[0].send(bytes([self.data[-1] ^ 1]))
        await gatherResults([client.ended for client in (*clients, tail)])
        self.assertEqual({client.body() == self.data[:-HELD_BACK] for client in clients}, {True})
        self.assertNotIn(self.data[-9:-1], bytes(tail.came))
        self.assertEqual(await self.proxy.stored(), [])

    async def test_gone(self) -> None:
        """The only client goes away in the middle: the file is stored all the same."""
        client = self.proxy.send(self.path)
        await self.begun()
        self.slow.go(MIB)
        await client.until(MIB)
        client.transport.abortConnection()
        await client.ended
        await deferLater(self.reactor, 0.05)
        self.slow.go(len(self.data))
        await self.proxy.idle()
        self.assertIn(kept_key(project_name("spam"), "spam-1.0.tar.gz"), await self.proxy.stored())
        self.assertEqual((await self.proxy.get(self.path)).body, self.data)
        self.assertEqual(self.files_asked(), 1)

    async def test_gone_before_anything_came(self) -> None:
        """So also where it goes before the first byte."""
        client = self.proxy.send(self.path)
        await self.begun()
        client.transport.abortConnection()
        await client.ended
        await deferLater(self.reactor, 0.05)
        self.slow.go(len(self.data))
        await self.proxy.idle()
        self.assertEqual((await self.proxy.get(self.path)).body, self.data)
        self.assertEqual(self.files_asked(), 1)

    async def test_range_of_nothing_kept(self) -> None:
        """A part of a file that nobody has fetched comes from upstream, as a part, and is not
        stored; so HEAD.
        """
        self.script(ranged(self.data), "/files/spam-1.0.tar.gz")
        for asked, first, stop in (
            ("bytes=0-99", 0, 100),
            ("bytes=2000000-2000099", 2_000_000, 2_000_100),
            ("bytes=-100", len(self.data) - 100, len(self.data)),
            (f"bytes={len(self.data) - 1}-", len(self.data) - 1, len(self.data)),
        ):
            answer = await self.proxy.get(self.path, f"Range: {asked}")
            self.assertEqual((answer.status, answer.body), (206, self.data[first:stop]), asked)
            self.assertEqual(
                answer.head["content-range"], f"bytes {first}-{stop - 1}/{len(self.data)}"
            )
        answer = await self.proxy.get(self.path, method="HEAD")
        self.assertEqual((answer.status, answer.announced), (200, len(self.data)))
        self.assertEqual((await self.proxy.get(self.path, "Range: bytes=99999999-")).status, 416)
        self.assertEqual(await self.proxy.stored(), [])
        self.assertLess(sum(talk.sent for talk in self.fake.talks), MIB)

    async def test_range_from_a_server_without(self) -> None:
        """A server that knows no ranges sends it all; the client gets its part, and no more is read
        than is needed.
        """
        self.script(says(self.data), "/files/spam-1.0.tar.gz")
        answer = await self.proxy.get(self.path, "Range: bytes=1000-1099")
        self.assertEqual((answer.status, answer.body), (206, self.data[1000:1100]))

    async def test_range_of_what_comes(self) -> None:
        """A part of a file that is on its way comes out of what is there,
        without another question.
        """
        client = self.proxy.send(self.path)
        await self.begun()
        self.slow.go(2 * MIB)
        await client.until(2 * MIB)
        answer = await self.proxy.get(self.path, "Range: bytes=1000-1099")
        self.assertEqual((answer.status, answer.body), (206, self.data[1000:1100]))
        self.assertEqual(self.files_asked(), 1)
        self.slow.go(len(self.data))
        await client.ended
        self.assertEqual(client.body(), self.data)

    async def test_wrong_range(self) -> None:
        """Another part than was asked for is not passed on."""
        self.script(
            says(self.data[:100], 206, Content_Range=f"bytes 0-99/{len(self.data)}"),
            "/files/spam-1.0.tar.gz",
        )
        self.assertEqual((await self.proxy.get(self.path, "Range: bytes=1000-1099")).status, 503)
