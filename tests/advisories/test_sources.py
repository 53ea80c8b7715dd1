"""Sources: folders, files, HTTP servers and buckets."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zipfile import ZipFile

import msgspec
from attrs import evolve
from twisted.internet import reactor  # noqa: TID251  # real connections need the real one
from twisted.internet.defer import maybeDeferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pypid.advisories import sources
from pypid.advisories.archive import LONGEST_DOCUMENT, UnusableSource
from pypid.advisories.sources import (
    FetchedAdvisories,
    HttpSource,
    HttpVersion,
    LocalSource,
    modified_records,
)
from pypid.flow import start
from pypid.http_client.connections import Fault, Trust, connections
from tests.advisories.archives import archive_of, record
from tests.support.worlds import BEGINNING, world
from tests.upstream.fake import Fake, raw, says, status

NOW = datetime(2026, 5, 6, 12, tzinfo=UTC)


def members(fetched: FetchedAdvisories | None) -> dict[str, bytes]:
    """Return the documents of what was fetched, and close it."""
    assert fetched is not None
    with fetched.archive as file, ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


class LocalSourceTests(SynchronousTestCase):
    """`LocalSource`."""

    def setUp(self) -> None:
        super().setUp()
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder, self.spool = Path(made.name, "source"), Path(made.name)
        self.folder.mkdir()

    def fetch(self, path: Path, known: str = "") -> FetchedAdvisories | None:
        source = LocalSource(path, self.spool, world())
        return self.successResultOf(start(source.fetch(known)))

    def test_folder(self) -> None:
        """Records below it are read; hidden and other files, links to folders and pipes are not."""
        for name in ("a.json", "sub/b.yaml", "sub/c.YML", ".git/d.json", "e.txt", ".f.json"):
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(name.encode())
        (self.folder / "loop").symlink_to(self.folder)
        (self.folder / "broken.json").symlink_to(self.folder / "none")
        os.mkfifo(self.folder / "fifo.json")
        found = members(self.fetch(self.folder))
        self.assertEqual(found, {n: n.encode() for n in ("a.json", "sub/b.yaml", "sub/c.YML")})

    def test_folder_changes(self) -> None:
        """A folder is packed again only after a change of its files."""
        file = self.folder / "a.json"
        file.write_bytes(b"{}")
        first = self.fetch(self.folder)
        assert first is not None
        first.archive.close()
        self.assertIsNone(self.fetch(self.folder, first.version))
        os.utime(file, (1, 1))
        again = self.fetch(self.folder, first.version)
        self.assertEqual(list(members(again)), ["a.json"])

    def test_large_file_is_cut(self) -> None:
        (self.folder / "a.json").write_bytes(b" " * (LONGEST_DOCUMENT + 10))
        found = members(self.fetch(self.folder))
        self.assertEqual(len(found["a.json"]), LONGEST_DOCUMENT + 1)

    def test_file(self) -> None:
        path = self.spool / "all.zip"
        path.write_bytes(archive_of(record("X-1")).getvalue())
        first = self.fetch(path)
        assert first is not None
        self.assertEqual(len(members(first)), 1)
        self.assertIsNone(self.fetch(path, first.version))
        os.truncate(path, 10)
        changed = self.fetch(path, first.version)
        assert changed is not None
        changed.archive.close()

    def test_missing(self) -> None:
        source = LocalSource(self.folder / "none", self.spool, world())
        self.failureResultOf(start(source.fetch("")), FileNotFoundError)


class HttpSourceTests(TestCase):
    """`HttpSource`, with a server on a port of its own."""

    timeout = 20

    def setUp(self) -> None:
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.server = Fake(reactor)
        self.reached = connections(reactor, Trust(), 5.0, idle=1, idle_time=1)
        self.now = NOW
        calm = evolve(world(), clock=reactor, now=lambda: self.now)
        url = f"{self.server.url}/PyPI/all.zip".replace("://", "://u:s3cret@")
        self.source = HttpSource(url, Path(made.name), calm, self.reached)
        self.answer("all.zip", archive_of(record("X-1")).getvalue(), ETag='"1"')

    async def tearDown(self) -> None:
        await self.reached.close()
        await maybeDeferred(self.server.port.stopListening)
        for talk in list(self.server.open):
            talk.reset()
        self.assertTrue(await self.server.all_gone())

    def answer(self, name: str, body: bytes, **headers: str) -> None:
        """Let the server have a file."""
        self.server.scripts[f"/PyPI/{name}"] = says(body, **headers)

    def asked(self) -> list[str]:
        """Return the names that were requested since the last call."""
        names = [each.path.rpartition("/")[2] for each in self.server.asked]
        self.server.asked.clear()
        return names

    async def test_archive(self) -> None:
        """It is requested with user and password, and later on condition that it has changed."""
        found = await self.source.fetch("")
        assert found is not None
        self.assertEqual((len(members(found)), found.is_delta), (1, False))
        self.assertEqual(self.server.asked[-1].headers["authorization"], "Basic dTpzM2NyZXQ=")
        self.assertNotIn("s3cret", found.version + repr(self.source))
        self.server.scripts["/PyPI/all.zip"] = status(304)
        self.assertIsNone(await self.source.fetch(found.version))
        self.assertEqual(self.server.asked[-1].headers["if-none-match"], '"1"')

    async def test_delta(self) -> None:
        """Between two archives only modified records are requested, by the list beside it."""
        self.answer("modified_id.csv", b"2026-05-06T09:00:00Z,X-1\n")
        found = await self.source.fetch("")
        assert found is not None
        found.archive.close()
        self.asked()
        self.now += timedelta(hours=1)
        lines = "2026-05-06T12:30:00Z,PyPI/X-2\nbad line\n2026-05-06T12:20:00Z,X-gone\n,\n9,X-9\n"
        self.answer("modified_id.csv", lines.encode() + b"2026-05-01T00:00:00Z,X-old\n")
        self.server.scripts["/PyPI/X-2.json"] = status(500)
        with self.assertRaises(UnusableSource):
            await self.source.fetch(found.version)
        self.asked()
        self.answer("X-2.json", record("X-2"))
        delta = await self.source.fetch(found.version)
        assert delta is not None
        self.assertEqual(members(delta), {"X-2.json": record("X-2")})
        self.assertTrue(delta.is_delta)
        self.assertEqual(self.asked(), ["modified_id.csv", "X-2.json", "X-gone.json"])
        self.assertIsNone(await self.source.fetch(delta.version))
        self.assertEqual(self.asked(), ["modified_id.csv"])
        self.now += timedelta(days=1)
        whole = await self.source.fetch(delta.version)
        assert whole is not None
        whole.archive.close()
        self.assertFalse(whole.is_delta)

    async def test_wrong_clocks(self) -> None:
        """A record from the future hides no later change; a clock that went back means a full
        download.
        """
        self.answer("modified_id.csv", b"2099-01-01T00:00:00Z,X-1\n2026-05-06T11:00:00Z,X-2\n")
        found = await self.source.fetch("")
        assert found is not None
        found.archive.close()
        version = msgspec.json.decode(found.version, type=HttpVersion)
        self.assertEqual(version.newest, "2026-05-06T11:00:00+00:00")
        self.now -= timedelta(days=3)
        whole = await self.source.fetch(found.version)
        assert whole is not None
        whole.archive.close()
        self.assertFalse(whole.is_delta)

    async def test_many_changes(self) -> None:
        """For many modified records the archive is downloaded."""
        self.patch(sources, "MOST_CHANGED", 1)
        self.answer("modified_id.csv", b"2026-05-06T12:00:00Z,X-1\n2026-05-06T12:00:00Z,X-2\n")
        found = await self.source.fetch("")
        assert found is not None
        found.archive.close()
        again = await self.source.fetch(found.version)
        assert again is not None
        again.archive.close()
        self.assertFalse(again.is_delta)

    async def test_unusable(self) -> None:
        """Errors, endless answers and redirects are refused, and no password is in the texts."""
        self.patch(sources, "LARGEST_ARCHIVE", 1000)
        for script in (
            status(500),
            says(b"x" * 2000),
            status(302, Location="/PyPI/all.zip"),
            status(302, Location="ftp://127.0.0.1/x"),
        ):
            self.server.scripts["/PyPI/all.zip"] = script
            with self.assertRaises(UnusableSource) as caught:
                await self.source.fetch("")
            self.assertNotIn("s3cret", str(caught.exception))
        await self.reached.close()
        await self.server.port.stopListening()
        with self.assertRaises(Fault):
            await self.source.fetch("")

    async def test_silence(self) -> None:
        """A server that accepts a connection and says nothing, or stops, is given up."""
        self.patch(sources, "PATIENCE", 0.2)
        for script in (raw(5.0), raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", 5.0)):
            self.server.scripts["/PyPI/all.zip"] = script
            with self.assertRaises(Fault) as caught:
                await self.source.fetch("")
            self.assertTrue(caught.exception.timed_out)

    async def test_trickle(self) -> None:
        """A server that is slow, but never silent, is given up after a total time, and is sent no
        further request.
        """
        self.patch(sources, "LONGEST", 0.5)
        trickle = raw(b"HTTP/1.1 200 OK\r\n\r\n", *[0.1, b"x"] * 100)
        for name in ("modified_id.csv", "all.zip"):
            self.server.scripts[f"/PyPI/{name}"] = trickle
            with self.assertRaises(Fault) as caught:
                await self.source.fetch("")
            self.assertTrue(caught.exception.timed_out)
            self.assertEqual(self.asked()[-1], name)
            self.server.scripts["/PyPI/modified_id.csv"] = status(404)

    async def test_redirect_to_another_host(self) -> None:
        """User and password are not sent there."""
        other = Fake(reactor)
        try:
            other.scripts["/x.zip"] = says(archive_of(record("X-1")).getvalue())
            elsewhere = other.url.replace("localhost", "127.0.0.1")
            self.server.scripts["/PyPI/all.zip"] = status(302, Location=f"{elsewhere}/x.zip")
            self.assertEqual(len(members(await self.source.fetch(""))), 1)
            self.assertNotIn("authorization", other.asked[0].headers)
        finally:
            await other.port.stopListening()
            for talk in list(other.open):
                talk.reset()
            self.assertTrue(await other.all_gone())

    def test_list(self) -> None:
        """Times without a zone are in UTC; broken lines are skipped, and the number is bounded."""
        data = b"2026-01-01,A-1\n2026-01-01T00:00:00,B-1\n\xff,\nx\n2026-13-01T,C\n2027-01-01,D\n"
        found = modified_records(data, BEGINNING - timedelta(days=1), NOW)
        self.assertEqual((list(found.times), found.newest), (["A-1", "B-1", "D"], BEGINNING))
        many = b"".join(b"2026-01-01,A-%d\n" % number for number in range(9999))
        found = modified_records(many, BEGINNING - timedelta(days=1), NOW)
        self.assertEqual(len(found.times), sources.MOST_CHANGED + 1)
        self.assertIsNone(modified_records(b"2027-01-01,D\n", NOW, NOW).newest)
