"""Files of theirs on their way to clients and into
the storage: `pypid.index.upstream.file_cache`.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from pypid.core.errors import (
    Busy,
    NotThere,
    PypidError,
    StorageDown,
    StorageFull,
    UpstreamDown,
    Withheld,
    WrongBytes,
)
from pypid.core.model import Blob, File, Span
from pypid.core.records.layout import kept_key
from pypid.flow import at_once, start, whole
from pypid.flow.spool import sweep
from pypid.index.upstream import file_cache
from pypid.index.upstream import file_cache as keeping_module
from pypid.index.upstream.cache_store import CacheStore
from pypid.index.upstream.file_cache import FileCache
from pypid.ports import Body
from tests.core.test_restrictions import VersionRule
from tests.disks import on_a_disk
from tests.index.file_cache_cases import (
    HELD,
    KIB,
    Client,
    KeeperCase,
    envoy_of,
    listed,
    noise,
    read_kept,
)
from tests.support import Fed, Turns, world
from tests.support.engines import a_catalog

BIG = 300 * KIB
WRONGLY: tuple[dict[str, object], ...] = (
    {},
    {"sha256": None, "md5": "12" * 16},
    {"sha256": None, "digest": "sha384=" + "12" * 48},
)
"""What else upstream may list of a file: then that is wrong."""


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


class StreamingTests(KeeperCase):
    """The bytes go to clients as they come, and into the storage once."""

    def test_first_and_second(self) -> None:
        """The first request fetches and stores; the second is served from the storage, and upstream
        is asked once.
        """
        for size in (0, 1, HELD - 1, HELD, HELD + 1, BIG, 3 << 20):
            data = noise(size)
            file = listed(data, f"spam-{size}.tar.gz")
            body = self.fed(file, *cut(data, 50_001), None, size=size)
            first = self.client(file)
            self.assertEqual((self.successResultOf(first.ended), first.size), (data, size))
            self.assertTrue(body.closed)
            self.upstream.answers.clear()
            kept = self.kept(file)
            assert kept is not None
            self.assertEqual(
                (kept.key, kept.sha256, kept.size),
                (kept_key(file.project, file.filename), file.sha256, size),
            )
            self.assertEqual(self.successResultOf(self.client(file).ended), data)
            self.assertEqual(self.successResultOf(self.client(file, Span(0, size)).ended), data)
        self.assertEqual(len(self.upstream.asked), 7)
        self.assertEqual(self.spooled(), [])

    def test_as_it_comes(self) -> None:
        """What has come is at the client at once, but for the last 64 KiB, which come when the hash
        is right.
        """
        data = noise(BIG)
        file = listed(data)
        body = self.fed(file, size=BIG)
        client = self.client(file)
        self.assertNoResult(client.ended)
        sent = 0
        for piece in cut(data, 10_000):
            body.feed(piece)
            sent += len(piece)
            self.assertEqual(len(client.got), min(sent, BIG - HELD))
        self.assertNoResult(client.ended)
        body.feed(None)
        self.assertEqual(self.successResultOf(client.ended), data)

    def test_slow(self) -> None:
        """A client who stops reading holds up neither the others nor the storage, and may go on
        when all is long over.
        """
        self.patch(file_cache, "PIECE", 1000)
        data = noise(BIG)
        file = listed(data)
        before = open_files()
        body = self.fed(file, data[:100_000], size=BIG)
        slow, quick = self.client(file, most=2), self.client(file)
        body.feed(data[100_000:])
        body.feed(None)
        self.assertEqual(self.successResultOf(quick.ended), data)
        self.assertIsNotNone(self.kept(file))
        self.assertEqual((len(slow.got), self.spooled()), (2000, []))
        slow.go_on()
        self.assertEqual(self.successResultOf(slow.ended), data)
        self.assertEqual(open_files(), before)

    def test_out_of_memory_or_out_of_the_file(self) -> None:
        """Who keeps up has the bytes before they are written; of those that are written a bounded
        part stays in memory.
        """
        turns = Turns()
        self.folder = self.enterContext(on_a_disk(self.folder))
        sweep(self.folder)
        self.file_cache = self.another(turns)
        self.patch(file_cache, "RECENT", 50_000)
        data = noise(BIG)
        file = listed(data)
        body = self.fed(file, data[:10_000], size=BIG)
        client = self.client(file)
        self.assertEqual(len(client.got), 0)
        turns.all()
        self.assertEqual(len(client.got), 10_000)
        for piece in cut(data[10_000:], 10_000):
            body.feed(piece)
        self.assertEqual(len(client.got), BIG - HELD)
        [download] = self.file_cache._downloads.values()
        self.assertGreater(download.come - download.written, 50_000)
        late = self.client(file)
        self.assertEqual(len(late.got), BIG - HELD)  # of the file no disk is needed
        turns.all()
        self.assertLess(sum(len(piece) for _, piece in download._recent), 60_000)
        body.feed(None)
        turns.all()
        self.assertEqual(
            (self.successResultOf(client.ended), self.successResultOf(late.ended)), (data, data)
        )

    def test_trickles(self) -> None:
        """An upstream that sends a byte now and then is given up after a minute, and nothing of it
        is stored.
        """
        file = listed(noise(200 * KIB))
        clock = Clock()
        self.file_cache = FileCache(
            CacheStore(self.blobs, self.catalog, at_once),
            envoy_of(self.upstream),
            world(clock),
            self.folder,
        )
        body = self.fed(file, b"x", size=file.size)
        client = self.client(file)
        for _ in range(7):
            self.assertNoResult(client.ended)
            clock.advance(9)
            body.feed(b"x")
        error = self.failureResultOf(client.ended, UpstreamDown).value
        self.assertTrue(error.timed_out)
        self.assertTrue(body.closed)
        self.assertEqual((self.stored(), self.spooled()), ([], []))

    def test_gone_from_the_storage(self) -> None:
        """A kept file that somebody removed from the storage is fetched again; until then it does
        not count as kept.
        """
        data = noise(BIG)
        file = listed(data)
        self.fed(file, data, None)
        self.client(file)
        self.have(self.blobs.delete(kept_key(file.project, file.filename)))
        self.upstream.answers[str(file.source)] = UpstreamDown("it is down.")
        self.failureResultOf(self.client(file).ended, UpstreamDown)
        self.assertIsNone(self.kept(file))
        self.fed(file, data, None)
        self.assertEqual(self.successResultOf(self.client(file).ended), data)
        self.assertIn(kept_key(file.project, file.filename), self.stored())

    def test_other_bytes_under_the_name(self) -> None:
        """If upstream's file becomes another, who was shown the new hash gets the new bytes, and
        each is kept in turn.
        """
        for data in (noise(BIG), b"x" * BIG, b"y" * BIG, noise(1000), noise(BIG)):
            file = listed(data)
            self.fed(file, data, None)
            self.assertEqual(self.successResultOf(self.client(file).ended), data)
            self.upstream.answers.clear()
            self.assertEqual(self.successResultOf(self.client(file).ended), data)
            self.assertEqual(self.have(read_kept(self.blobs, file.project)), (self.kept(file),))


class HashTests(KeeperCase):
    """Only what upstream listed is stored, or seen whole."""

    def test_blocked_digest(self) -> None:
        """A block by digest also hits a file whose digest upstream does not list: no client has the
        last 64 KiB of it, and its record names the digest from then on.
        """
        rules = self.file_cache.gate.policy.restrictions
        for size in (1000, BIG):
            data = noise(size)
            file = listed(data, f"spam-{size}.tar.gz", sha256=None)
            rule = VersionRule(frozenset([file.version]), by_version=False)
            rules.replace("blocks", {}, {hashlib.sha256(data).hexdigest(): rule})
            self.fed(file, *cut(data, 100_000), None)
            client = self.client(file)
            self.failureResultOf(client.ended, Withheld)
            self.assertLessEqual(len(client.got), max(0, size - HELD))
            kept = self.kept(file)
            assert kept is not None
            self.assertRaises(Withheld, rules.current.check, kept)

    def test_wrong(self) -> None:
        """Wrong bytes: nothing is stored, no client has the last 64 KiB (of a small file,
        anything), and the log has both.
        """
        for size in (1, HELD, HELD + 1, BIG, 3 << 20):
            data, wrong = noise(size), noise(size)[:-1] + b"\0"
            if data == wrong:
                wrong = noise(size)[:-1] + b"\1"
            for fields in WRONGLY:
                file = replace(listed(data), **fields)  # type: ignore[arg-type]
                body = self.fed(file, size=size)
                clients = [self.client(file), self.client(file)]
                for piece in cut(wrong, 64_000):
                    body.feed(piece)
                if size > HELD:
                    clients.append(self.client(file, Span(size - 1, size)))
                early = max(0, size - HELD) if size > keeping_module.BATCH else 0
                self.assertEqual({len(client.got) for client in clients[:2]}, {early})
                body.feed(None)
                for client in clients:
                    error = self.failureResultOf(client.ended, WrongBytes).value
                    self.assertLessEqual(len(client.got), max(0, size - HELD))
                    self.assertTrue(wrong.startswith(client.got))
                if not fields:
                    self.assertIn(hashlib.sha256(wrong).hexdigest(), str(error))
                    self.assertIn(str(file.sha256), str(error))
                    self.assertIn(file.filename, str(error))
        self.assertEqual((self.stored(), self.spooled()), ([], []))

    def test_another_hash_is_another_file(self) -> None:
        """Two clients who were shown different hashes of one name are two fetches: nobody gets what
        he was not shown.
        """
        old, new = noise(BIG), noise(BIG + 1)
        bodies = [self.fed(listed(old)), None]
        first = self.client(listed(old))
        bodies[1] = self.fed(listed(new))
        second = self.client(listed(new))
        for body, data in zip(bodies, (old, new), strict=True):
            assert body is not None
            body.feed(data)
            body.feed(None)
        self.assertEqual(
            (self.successResultOf(first.ended), self.successResultOf(second.ended)), (old, new)
        )


class BadLuckTests(KeeperCase):
    """An upstream that breaks off or lies, a disk that is full, a storage that is away."""

    def fails(
        self,
        file: File,
        kind: type[Exception],
        body: Fed | None = None,
        *rest: bytes | Exception | None,
    ) -> Client:
        client = self.client(file)
        for piece in rest:
            assert body is not None
            body.feed(piece)
        self.failureResultOf(client.ended, kind)
        self.assertEqual((self.stored(), self.spooled(), self.kept(file)), ([], [], None))
        return client

    def test_truncated(self) -> None:
        """A body that ends early, with or without saying so, stores nothing; the next request tries
        again.
        """
        data = noise(BIG)
        file = listed(data)
        for end in (None, UpstreamDown("it broke off.")):
            body = self.fed(file, size=BIG)
            self.assertEqual(
                len(self.fails(file, UpstreamDown, body, data[:-1], end).got), BIG - HELD
            )
            self.assertTrue(body.closed)
        self.fed(file, data, None)
        self.assertEqual(self.successResultOf(self.client(file).ended), data)

    def test_without_end(self) -> None:
        """What says nothing of its length may have so many bytes and no more."""
        self.file_cache = self.another(largest=BIG)
        file = listed(b"", sha256=None, size=None)
        self.fed(file, noise(BIG), b"x")
        self.fails(file, WrongBytes)
        self.fails(listed(b"", size=BIG + 1), WrongBytes)

    def test_before_the_first_byte(self) -> None:
        """An error before the first byte is everybody's who waits, and nobody's who comes later."""
        data = noise(BIG)
        file = listed(data)
        for error in (UpstreamDown("it is down."), NotThere(file.filename)):
            answer: Deferred[Body] = Deferred()
            assert file.source is not None
            self.upstream.answers[file.source] = answer
            clients = [self.client(file) for _ in range(5)]
            answer.errback(error)
            for client in clients:
                self.failureResultOf(client.ended, type(error))
        self.assertEqual(len(self.upstream.asked), 2)
        self.fed(file, data, None)
        self.assertEqual(self.successResultOf(self.client(file).ended), data)

    def test_spool_full(self) -> None:
        """No space for the spool is `StorageFull` for those who read, and leaves nothing."""
        data = noise(3 << 20)
        file = listed(data)
        body = self.fed(file, data[:500_000], size=len(data))
        client = self.client(file)
        fetch = next(iter(self.file_cache._downloads.values()))
        assert fetch.spool is not None
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, fetch.spool._disk._descriptor)
        os.close(full)
        body.feed(data[500_000:])
        body.feed(None)
        self.failureResultOf(client.ended, StorageFull)
        self.assertEqual(
            (len(client.got), self.stored(), self.spooled()), (len(data) - HELD, [], [])
        )

    def test_small_files_need_no_spool(self) -> None:
        """A file of one batch, of which upstream says the size, is verified and stored from memory;
        while there are too many of them, and without a size, it is spooled.
        """
        sizes: list[int | None] = [1000, keeping_module.BATCH, None]
        self.folder.rmdir()
        for size in sizes:
            data = noise(size or 1000)
            file = listed(data, f"spam-{size or 1}.tar.gz", size=None)
            self.fed(file, *cut(data, 30_000), None, size=size)
            ended = self.client(file).ended
            if size is None:
                self.failureResultOf(ended, StorageDown)
            else:
                self.assertEqual(self.successResultOf(ended), data)
                self.assertIsNotNone(self.kept(file))
        self.patch(keeping_module, "IN_MEMORY", -1)
        file = listed(noise(1000), "spam-2.tar.gz")
        self.fed(file, noise(1000), None, size=1000)
        self.failureResultOf(self.client(file).ended, StorageDown)
        self.folder.mkdir()

    def test_storage_fails(self) -> None:
        """If the storage cannot take the file, clients have it all the same, and the next request
        fetches it again.
        """
        data = noise(BIG)
        file = listed(data, "spam-1.0-py3-none-any.whl")
        for nth in (1, 2, 3):
            for error in (StorageDown("away."), StorageFull("storage"), RuntimeError("a mistake")):
                blobs = self.blobs
                self.file_cache.kept = self.another().kept
                failing = Failing(blobs, nth, error)
                self.blobs = failing  # type: ignore[assignment]
                self.file_cache = self.another()
                self.fed(file, data, None)
                self.assertEqual(self.successResultOf(self.client(file).ended), data)
                self.blobs = blobs
                self.assertEqual(self.spooled(), [])
                if failing.failed:
                    self.assertIsNone(self.kept(file))
                    self.assertEqual(self.have(read_kept(blobs, file.project)), ())
                self.have(self.another().forget(file.project, file.filename))
                self.assertEqual(self.stored(), [])
                self.flushLoggedErrors(RuntimeError)

    def test_stopped(self) -> None:
        """When pypid stops, readers fail, nothing is stored, and the spool is empty."""
        data = noise(BIG)
        file = listed(data)
        body = self.fed(file, data[:1000], size=BIG)
        client = self.client(file)
        self.have(self.file_cache.close())
        self.failureResultOf(client.ended, Busy)
        self.assertTrue(body.closed)
        self.assertEqual((self.stored(), self.spooled()), ([], []))


class Failing:
    """A storage whose write number `nth` fails."""

    def __init__(self, blobs: object, nth: int, error: Exception) -> None:
        self._blobs = blobs
        self._left = nth
        self._error = error

    @property
    def failed(self) -> bool:
        return self._left <= 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._blobs, name)

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        self._left -= 1
        if not self._left:
            await body.aclose()
            raise self._error
        return await self._blobs.write(key, body, replace=replace)  # type: ignore[attr-defined,no-any-return]


class SpanTests(KeeperCase):
    """Parts of a file that is not kept."""

    @given(
        st.integers(1, 400),
        st.lists(st.integers(1, 200), min_size=1, max_size=5),
        st.lists(
            st.tuples(st.integers(0, 8), st.integers(0, 400), st.integers(1, 400)), max_size=6
        ),
        st.booleans(),
    )
    @settings(max_examples=30, deadline=None, database=None)
    def test_any(
        self, size: int, pieces: list[int], spans: list[tuple[int, int, int]], announced: bool
    ) -> None:
        """Whatever comes in whatever pieces, each span that is asked for at whatever time has the
        file's bytes.
        """
        self.patch(file_cache, "HELD_BACK", 64)
        self.patch(file_cache, "NEAR", 50)
        self.patch(file_cache, "PIECE", 17)
        self.upstream.asked.clear()
        data = noise(size)
        file = listed(data, f"spam-{len(self.stored())}.tar.gz")
        assert file.source is not None
        body = Fed(size=size if announced else None)
        parts = lambda span: Fed(data[span.start : span.stop], None)  # noqa: E731
        self.upstream.answers[file.source] = lambda span: body if span is None else parts(span)
        clients = [(self.client(file), data)]
        position, turn = 0, 0
        while position < size or turn <= 8:
            for when, begin, length in spans:
                if when == turn and begin < size:
                    span = Span(begin, min(size, begin + length))
                    clients.append((self.client(file, span), data[span.start : span.stop]))
            piece = data[position : position + pieces[turn % len(pieces)]]
            position, turn = position + len(piece), turn + 1
            if piece:
                body.feed(piece)
            for client, _ in clients[:1]:
                self.assertLessEqual(len(client.got), max(0, size - 64))
        body.feed(None)
        for client, expected in clients:
            self.assertEqual(self.successResultOf(client.ended), expected)
        self.assertEqual([span for _, span in self.upstream.asked].count(None), 1)
        self.assertEqual(self.spooled(), [])


class CancellationTests(KeeperCase):
    """A client may go away at any moment."""

    def test_stopped_at_every_turn(self) -> None:
        """Whenever pypid is stopped, the spool is empty then, and what is in the storage is whole
        or nobody's.
        """
        for at, size in [(at, size) for at in range(14) for size in (BIG, 100 * KIB)]:
            data, turns = noise(size), Turns()
            self.file_cache = self.another(turns)
            file = listed(data, f"spam-{at}-{size}.tar.gz")
            self.fed(file, *cut(data, 30_000), None, size=size)
            client = self.client(file)
            for _ in range(at):
                if turns:
                    turns.turn()
            closing = start(self.file_cache.close())
            turns.all()
            self.successResultOf(closing)
            client.ended.addErrback(lambda failure: failure.trap(PypidError, CancelledError))
            self.assertEqual(self.spooled(), [])
            for kept in self.have(read_kept(self.blobs, file.project)):
                self.assertEqual(self.have(_read(self.blobs, kept.key)), noise(kept.size))


async def _read(blobs: object, key: str) -> bytes:
    return await whole(await blobs.read(key), 1 << 20)  # type: ignore[attr-defined]


class TwoNodesTests(KeeperCase):
    """Two processes keep the same file in one storage at once."""

    def test_other_bytes_at_once(self) -> None:
        """Without a hash two nodes may be sent different bytes: one of them is kept, and its record
        is of its bytes.
        """
        file = listed(b"", sha256=None, size=None)
        for head_start in range(12):
            self.have(self.file_cache.forget(file.project, file.filename))
            one, other = Turns(), Turns()
            clients = []
            for turns, data in ((one, noise(1000)), (other, noise(2000))):
                self.fed(file, data, None)
                clients.append(Client(self.another(turns, a_catalog()), file))
            for _ in range(head_start):
                if one:
                    one.turn()
            while one or other:
                for turns in (other, one):
                    if turns:
                        turns.turn()
            self.assertEqual(
                [self.successResultOf(client.ended) for client in clients],
                [noise(1000), noise(2000)],
            )
            (kept,) = self.have(read_kept(self.blobs, file.project))
            self.assertEqual(
                hashlib.sha256(self.have(_read(self.blobs, kept.key))).hexdigest(), kept.sha256
            )


class ForgettingTests(KeeperCase):
    """Kept files that go, and what is known of their use."""

    def test_forgets(self) -> None:
        """A forgotten file is gone from the storage and the catalog, and is fetched again; ours are
        not touched.
        """
        data = noise(1000)
        file = listed(data)
        self.fed(file, data, None)
        self.client(file)
        self.have(self.blobs.write("spam/spam-1.0.tar.gz", Fed(b"ours", None)))
        self.have(self.file_cache.forget(file.project, file.filename))
        self.have(self.file_cache.forget(file.project, file.filename))
        self.assertEqual((self.stored(), self.kept(file)), (["spam/spam-1.0.tar.gz"], None))
        self.fed(file, data, None)
        self.assertEqual(self.successResultOf(self.client(file).ended), data)
