"""Core metadata of files of theirs: `pypid.index.upstream.file_metadata`."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from pypid.core.errors import Archived, WrongBytes
from pypid.core.model import Blob, File, Listing, Span
from pypid.core.policy import UpstreamState, offering
from pypid.core.policy import listed as listed_of
from pypid.core.records.layout import ObjectKind, kept_key
from pypid.index.store.records import LARGEST_METADATA, sha256_of
from pypid.index.upstream.cache_store import cached_metadata_key
from pypid.ports import Body
from tests.distributions import metadata, wheel, wheel_filename
from tests.index.file_cache_cases import KeeperCase, listed, noise
from tests.support import BEGINNING, Fed

TEXT = metadata(description="Spam, spam, eggs and spam.\n" * 500)


class DescribingTests(KeeperCase):
    """Metadata is fetched or read out of the wheel, once, and kept."""

    def setUp(self) -> None:
        super().setUp()
        self.data = wheel(
            metadata_bytes=TEXT,
            files={f"spam/{number}.bin": noise(70_000 + number) for number in range(5)},
        )
        self.file = listed(self.data, wheel_filename())
        self.where = kept_key(self.file.project, self.file.filename, ObjectKind.METADATA)
        assert self.file.source is not None
        self.source = self.file.source
        said = Listing(
            name=self.file.project, files=(self.file,), confirmed=BEGINNING, index="https://x/"
        )
        self.have(
            self.catalog.upstream.edit(self.file.project, lambda heard: evolve(heard, listing=said))
        )

    def get(self, file: File) -> bytes:
        return self.have(self.file_cache.metadata(file))

    def said(self) -> File:
        """The file as a page would list it."""
        heard = self.have(self.catalog.upstream.get(self.file.project))
        (file,) = listed_of(UpstreamState(listing=heard.listing, kept=heard.kept))
        return offering(file, heard.kept_file(file.filename), reachable=True)

    def test_client_does_not_wait_for_the_storage(self) -> None:
        """It has the metadata before that is stored; other clients get the same meanwhile, and
        upstream is asked once. If pypid stops then, it is fetched again later.
        """
        self.upstream.sends(self.source + ".metadata", TEXT)
        file = replace(self.file, metadata_sha256=sha256_of(TEXT), metadata_offered=True)
        usual, writing = self.blobs.write, [Deferred[None](), Deferred[None]()]
        waits = iter(writing)

        async def write(key: str, body: Body, *, replace: bool = False) -> Blob:
            await next(waits)
            return await usual(key, body, replace=replace)

        self.patch(self.blobs, "write", write)
        self.assertEqual((self.get(file), self.get(file)), (TEXT, TEXT))
        self.assertEqual((len(self.upstream.asked), self.stored()), (1, []))
        self.have(self.file_cache.close())
        self.assertEqual(self.get(file), TEXT)
        self.assertEqual((len(self.upstream.asked), self.stored()), (2, []))
        writing[1].callback(None)
        self.assertEqual((self.get(file), self.stored()), (TEXT, [self.where]))
        self.assertEqual(len(self.upstream.asked), 2)

    def test_our_copy_cannot_be_read(self) -> None:
        """Where our copy of the wheel breaks off, or lies in an archive, its metadata comes from
        upstream.
        """
        for error in (EOFError("short"), OSError("disk"), Archived()):
            self.setUp()
            self.upstream.sends(self.source, self.data)
            self.successResultOf(self.client(self.file).ended)
            held = self.kept(self.file)
            assert held is not None
            self.have(self.blobs.delete(cached_metadata_key(held)))

            usual = self.blobs.read

            async def read(
                key: str,
                span: Span | None = None,
                error: Exception = error,
                where: str | None = held.key,
                usual: Any = usual,
            ) -> Body:
                return Fed(error) if key == where else await usual(key, span)

            self.patch(self.blobs, "read", read)
            self.assertEqual(self.get(self.file), TEXT)

    def test_wrong(self) -> None:
        """Other bytes than listed, or more than 8 MiB, are neither given nor kept."""
        for body in (Fed(b"wrong", None), Fed(b"x" * LARGEST_METADATA, b"x")):
            self.upstream.feeds(self.source + ".metadata", body)
            error = self.refused(
                self.file_cache.metadata(replace(self.file, metadata_sha256=sha256_of(TEXT))),
                WrongBytes,
            )
            self.assertIn(f"{self.file.filename}.metadata", str(error))
            self.assertTrue(body.closed)
        self.assertEqual(self.stored(), [])

    def test_out_of_the_wheel(self) -> None:
        """Where upstream has none it is read out of the wheel, of which no more than the parts that
        matter are fetched.
        """
        self.upstream.sends(self.source, self.data)
        for file in (
            self.file,
            replace(self.file, metadata_offered=True),
            replace(self.file, size=None),
        ):
            self.have(self.blobs.delete(self.where))
            self.upstream.asked.clear()
            self.assertEqual(self.get(file), TEXT)
            parts = [
                span for url, span in self.upstream.asked if url == self.source and span is not None
            ]
            self.assertLessEqual(sum(span.stop - span.start for span in parts), 100_000)
            self.assertLessEqual(len(parts), 3)
            self.assertEqual(self.said().metadata_sha256, sha256_of(TEXT))
        self.assertEqual(self.stored(), [self.where])
