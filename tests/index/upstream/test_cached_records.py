"""Files of theirs in the storage: `pypid.index.upstream.cache_store` and
`pypid.index.upstream.cache_store`.
"""

from __future__ import annotations

import os
from pathlib import Path

from attrs import evolve
from msgspec.structs import replace

from pypid.blobs import files
from pypid.blobs.files import FilesSettings
from pypid.catalog.shared import SharedCatalog
from pypid.core.model import Digests, File, ListedFile, Presence, Span, as_listed
from pypid.core.packaging.names import project_name
from pypid.core.packaging.releases import is_copy
from pypid.core.records.documents import dump_record
from pypid.core.records.layout import ObjectKind, cached_overwrite_key, kept_key, place
from pypid.flow import BytesBody, whole
from pypid.flow.spool import Hashes
from pypid.index.store.records import sha256_of
from pypid.index.upstream.cache_store import CacheStore
from pypid.ports import Body
from tests.distributions import metadata, sdist, wheel, wheel_filename
from tests.failing_calls import Scripted, die, in_child
from tests.index.file_cache_cases import KeeperCase, listed, noise, read_kept
from tests.index.uploads import IndexCase
from tests.support import world
from tests.support.engines import a_catalog

MODULES = (files, files, files, files)
SPAM = project_name("spam")


def digests_of(data: bytes) -> Digests:
    hashes = Hashes()
    hashes.update(data)
    return hashes.digests()


class KeptCase(KeeperCase):
    """Each test with files to keep."""

    def keep(
        self,
        file: File,
        data: bytes,
        described: bytes | None = None,
        into: CacheStore | None = None,
    ) -> File:
        async def body() -> Body:
            return BytesBody(data)

        async def metadata() -> bytes | None:
            return described

        return self.have(
            (into or self.file_cache.kept).keep(file, digests_of(data), body, metadata)
        )

    def get(self, key: str | None) -> bytes:
        async def read() -> bytes:
            return await whole(await self.blobs.read(key or ""), 1 << 22)

        return self.have(read())

    def put(self, key: str, data: bytes) -> None:
        self.have(self.blobs.write(key, BytesBody(data), replace=True))


class KeepingTests(KeptCase):
    """Bytes, metadata, record, catalog."""

    def test_metadata_that_is_not_the_listed_one(self) -> None:
        """Metadata in the wheel that has not the hash that upstream lists is not kept; what was
        fetched before is.
        """
        data = wheel()
        file = listed(data, wheel_filename(), metadata_sha256=sha256_of(b"theirs"))
        where = kept_key(SPAM, file.filename, ObjectKind.METADATA)
        self.put(where, b"of older bytes")
        self.assertIsNone(self.keep(file, data, metadata()).metadata_sha256)
        self.assertNotIn(where, self.stored())
        self.have(self.file_cache.forget(SPAM, file.filename))
        self.put(where, b"theirs")
        self.assertEqual(self.keep(file, data, metadata()).metadata_sha256, sha256_of(b"theirs"))
        self.assertEqual(self.get(where), b"theirs")

    def test_bytes_without_a_record(self) -> None:
        """What a crash left under the name is used if it is the same, and else left alone: the new
        bytes go beside it.
        """
        data, file = noise(1000), listed(noise(1000))
        plain = kept_key(SPAM, file.filename)
        self.put(plain, data)
        self.assertEqual(self.keep(file, data).key, plain)
        self.have(self.file_cache.forget(SPAM, file.filename))
        for other in (noise(999), b"x" * 1000):
            self.put(plain, other)
            kept = self.keep(file, data)
            self.assertEqual(kept.key, cached_overwrite_key(SPAM, file.filename, kept.sha256 or ""))
            self.assertEqual((self.get(kept.key), self.get(plain)), (data, other))
            self.assertEqual(self.have(read_kept(self.blobs, SPAM)), (kept,))
            self.have(self.file_cache.forget(SPAM, file.filename))
            self.assertEqual(self.stored(), [])

    def test_records_that_cannot_be_trusted(self) -> None:
        """A record that is torn, another file's, or names bytes that are ours, are not there or not
        so long, keeps nothing.
        """
        data = noise(1000)
        file = listed(data)
        kept = self.keep(file, data)
        self.put("spam/spam-1.0.tar.gz", data)
        where = kept_key(SPAM, file.filename, ObjectKind.RECORD)
        for bad in (
            b"{",
            dump_record(replace(kept, filename="spam-2.0.tar.gz")),
            dump_record(replace(kept, project=project_name("eggs"))),
            dump_record(replace(kept, key="spam/spam-1.0.tar.gz")),
            dump_record(as_listed(kept)),
            dump_record(replace(kept, sha256=None)),
            dump_record(replace(kept, key=kept_key(SPAM, "spam-3.0.tar.gz"))),
            dump_record(replace(kept, size=999)),
        ):
            self.put(where, bad)
            self.assertEqual(self.have(read_kept(self.blobs, SPAM)), ())
            self.assertIsNone(
                self.have(CacheStore(self.blobs, a_catalog(), world().blocking).find(file))
            )
            self.assertEqual(self.keep(file, data), kept)
            self.assertEqual(self.have(read_kept(self.blobs, SPAM)), (kept,))

    def test_record_is_looked_up_only_where_others_may_have_written_it(self) -> None:
        """Alone with the storage, a catalog that was compared with it knows all cached files."""
        data = noise(1000)
        file = listed(data)
        reads: list[str] = []
        usual = self.blobs.read

        async def read(key: str, span: Span | None = None) -> Body:
            reads.append(key)
            return await usual(key, span)

        self.patch(self.blobs, "read", read)
        alone = CacheStore(self.blobs, a_catalog(), world().blocking, others_write=False)
        self.assertIsNone(self.have(alone.find(file)))
        self.assertEqual(len(reads), 1)
        self.keep(file, data)
        self.assertTrue(is_copy(self.have(alone.find(file)), file))  # not compared yet
        self.have(alone.forget(file.project, file.filename))
        self.have(alone.compare())
        reads.clear()
        self.assertIsNone(self.have(alone.find(file)))
        self.assertEqual(reads, [])
        self.keep(file, data)
        several = CacheStore(self.blobs, a_catalog(), world().blocking)
        self.have(several.forget(file.project, file.filename))
        self.have(several.compare())
        self.keep(file, data)
        self.assertIsNotNone(self.have(several.find(file)))


class ComparingTests(KeptCase):
    """The catalog against the storage."""

    def setUp(self) -> None:
        super().setUp()
        self.files = []
        for number in range(3):
            data = wheel("spam" if number < 2 else "eggs", f"{number}.0")
            name = "spam" if number < 2 else "eggs"
            self.files.append(
                self.keep(listed(data, wheel_filename(name, f"{number}.0")), data, b"described")
            )

    def compared(self, catalog: SharedCatalog) -> int:
        return self.have(CacheStore(self.blobs, catalog, world().blocking).compare())

    def held(self, catalog: SharedCatalog) -> list[File]:
        return [
            file
            for name in ("spam", "eggs")
            for file in self.have(catalog.upstream.get(project_name(name))).kept
        ]

    def test_changes(self) -> None:
        """Bytes, records and metadata that have gone or come since are seen; what upstream said is
        not touched.
        """
        spam = self.files[0]
        self.have(self.blobs.delete(f"{spam.key}.metadata"))
        self.assertEqual(self.compared(self.catalog), 1)
        self.assertEqual(self.kept(spam), replace(spam, metadata_sha256=None))
        self.have(self.blobs.delete(spam.key or ""))
        self.assertEqual(self.compared(self.catalog), 1)
        self.assertIsNone(self.kept(spam))
        self.have(self.file_cache.forget(SPAM, self.files[1].filename))
        self.have(self.blobs.delete(kept_key(SPAM, spam.filename, ObjectKind.RECORD)))
        self.assertEqual(self.compared(self.catalog), 0)
        eggs = self.files[2]
        self.have(self.blobs.delete(kept_key(eggs.project, eggs.filename, ObjectKind.RECORD)))
        self.assertEqual(self.compared(self.catalog), 1)
        self.assertEqual(self.held(self.catalog), [])


class ListedNameTests(KeptCase):
    """Files whose names say what they are only to those who know the project."""

    def test_names_of_upstream_are_found_again(self) -> None:
        """An sdist with a hyphen in its version is a kept file for a new process, too."""
        for filename in ("spam-1.2.0-1.tar.gz",):
            data = filename.encode()
            file = ListedFile(
                project=SPAM,
                filename=filename,
                version="1.0",
                sha256=sha256_of(data),
                size=len(data),
                source="https://x/y",
            )
            self.keep(file, data)
        self.catalog = a_catalog()
        found = self.have(read_kept(self.blobs, SPAM))
        self.assertEqual([file.filename for file in found], ["spam-1.2.0-1.tar.gz"])
        self.assertEqual([place(key) for key in self.stored() if place(key) is not None], [])


class CrashTests(KeptCase):
    """The process dies, or the disk refuses, at each step of keeping a file in a folder."""

    def setUp(self) -> None:
        super().setUp()
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()
        self.data = wheel()
        self.file = listed(self.data, wheel_filename())
        self.reopen()

    def reopen(self) -> None:
        """As a process that starts now: an empty catalog, and the same folder."""
        self.blobs = self.have(
            files.open(FilesSettings(str(self.root)), evolve(world(), random=os.urandom))
        )
        self.catalog = a_catalog()
        self.file_cache = self.another()

    def script(self, script: object) -> None:
        for module in MODULES:
            self.patch(module, "os", script)

    def fetch(self) -> bytes:
        self.fed(self.file, self.data[:500], self.data[500:], None)
        return self.successResultOf(self.client(self.file).ended)

    def look(self) -> None:
        """Whatever happened, the storage has the whole file or none, nothing of ours; and the next
        request works.
        """
        self.script(os)
        self.reopen()
        self.assertEqual([place(key) for key in self.stored() if place(key) is not None], [])
        for file in self.have(read_kept(self.blobs, SPAM)):
            self.assertEqual((self.get(file.key), file.sha256), (self.data, self.file.sha256))
            if file.metadata_sha256 is not None:
                self.assertEqual(sha256_of(self.get(f"{file.key}.metadata")), file.metadata_sha256)
        self.assertEqual(self.fetch(), self.data)
        (kept,) = self.have(read_kept(self.blobs, SPAM))
        self.assertEqual(self.get(kept.key), self.data)
        self.assertEqual(self.kept(self.file), kept)

    def test_dies(self) -> None:
        """Killed at any step."""
        nth = 0
        ended = False
        while not ended:
            nth += 1
            self.script(Scripted(nth, die))
            ended = in_child(self.fetch)
            self.look()
            self.have(self.file_cache.forget(SPAM, self.file.filename))
            self.assertEqual([key for key in self.stored() if key.startswith(".kept/")], [])
        self.assertGreater(nth, 20)


class NeverOursTests(IndexCase):
    """Bytes below ``.kept/``, whatever became of their records, never become ours."""

    def test_rebuild_and_check(self) -> None:
        """Kept bytes without a record (a crash) are neither adopted nor reported, and make no name
        ours.
        """
        where = ".kept/spam/spam-1.0.tar.gz"
        self.put(where, sdist())
        found, adopted = self.have(self.index.maintenance.rebuild("root"))
        self.assertEqual((found.projects, tuple(adopted)), (0, ()))
        self.assertEqual(self.have(self.index.maintenance.check(sweep=True)).findings, ())
        self.assertIs(self.have(self.index.context.local_project(SPAM)), Presence.ABSENT)
        self.assertEqual(self.get(where), sdist())
