"""Core metadata of files of theirs: `pypid.index.upstream.file_metadata`."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from datetime import timedelta
from typing import Any

from attrs import evolve
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from pypid.core.errors import Archived, NoSuchFile, NotThere, StorageDown, UpstreamDown, WrongBytes
from pypid.core.model import Blob, File, Listing, Span
from pypid.core.policy import UpstreamState
from pypid.core.policy import listed as listed_of
from pypid.core.records.layout import ObjectKind, kept_key
from pypid.core.simple_api.metadata_offer import offering
from pypid.flow import start
from pypid.index.store.records import LARGEST_METADATA, sha256_of
from pypid.index.upstream import file_metadata
from pypid.index.upstream.cached_records import cached_metadata_key
from pypid.ports import Body
from tests.distributions import metadata, wheel, wheel_filename
from tests.index.file_cache_cases import KeeperCase, listed, noise
from tests.index.upstream.test_file_cache import Failing
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

    def test_slow_storage_is_waited_for(self) -> None:
        """What is being stored is bounded: beyond it clients wait for the storage."""
        self.patch(file_metadata, "STORING", 0)
        self.upstream.sends(self.source + ".metadata", TEXT)
        usual, stored = self.blobs.write, Deferred[None]()

        async def write(key: str, body: Body, *, replace: bool = False) -> Blob:
            await stored
            return await usual(key, body, replace=replace)

        self.patch(self.blobs, "write", write)
        client = start(
            self.file_cache.metadata(
                replace(self.file, metadata_sha256=sha256_of(TEXT), metadata_offered=True)
            )
        )
        self.assertNoResult(client)
        stored.callback(None)
        self.assertEqual(self.successResultOf(client), TEXT)

    def test_offered_without_a_hash(self) -> None:
        """A mere ``true`` is fetched, and from then on its hash is listed."""
        self.upstream.sends(self.source + ".metadata", TEXT)
        self.assertEqual(self.get(replace(self.file, metadata_offered=True)), TEXT)
        self.assertEqual(self.said().metadata_sha256, sha256_of(TEXT))
        self.assertEqual(self.get(self.said()), TEXT)
        self.assertEqual(len(self.upstream.asked), 1)

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

    def test_out_of_the_kept_wheel(self) -> None:
        """A wheel that is kept has its metadata beside it from the start; if that has gone, it is
        read out of it again.
        """
        self.fed(self.file, self.data, None)
        self.successResultOf(self.client(self.file).ended)
        self.upstream.answers.clear()
        self.assertEqual(self.get(self.said()), TEXT)
        self.have(self.blobs.delete(self.where))
        self.assertEqual(self.get(self.said()), TEXT)
        self.assertIn(self.where, self.stored())
        self.assertEqual(len(self.upstream.asked), 1)

    def test_none(self) -> None:
        """An sdist without offered metadata, and a wheel that cannot be read, have none."""
        self.refused(self.file_cache.metadata(listed(b"x")), NoSuchFile)
        for data in (b"", b"x", noise(100_000), self.data[:-1], wheel("eggs")):
            self.upstream.sends(self.source, data)
            self.refused(self.file_cache.metadata(replace(self.file, size=len(data))), NoSuchFile)
        self.refused(self.file_cache.metadata(replace(self.file, source=None)), NoSuchFile)
        self.assertEqual(self.stored(), [])

    def test_upstream_down(self) -> None:
        """If upstream cannot be asked that is said, and not remembered."""
        for error in (UpstreamDown("it is down."), NotThere("x")):
            self.upstream.answers[self.source] = error
            self.refused(self.file_cache.metadata(self.file), type(error))
        self.upstream.sends(self.source, self.data)
        self.assertEqual(self.get(self.file), TEXT)

    def test_storage_down(self) -> None:
        """If it cannot be stored it is given all the same."""
        self.upstream.sends(self.source, self.data)
        self.blobs = Failing(self.blobs, 1, StorageDown("away."))  # type: ignore[assignment]
        self.assertEqual(self.have(self.another().metadata(self.file)), TEXT)

    def test_at_once(self) -> None:
        """Twenty who ask at once are one fetch; who goes away takes nothing from the others."""
        body = Fed()
        self.upstream.feeds(self.source + ".metadata", body)
        file = replace(self.file, metadata_offered=True, uploaded=BEGINNING - timedelta(1))
        asking = [start(self.file_cache.metadata(file)) for _ in range(20)]
        asking[0].cancel()
        self.failureResultOf(asking[0])
        body.feed(TEXT)
        body.feed(None)
        self.assertEqual({self.successResultOf(one) for one in asking[1:]}, {TEXT})
        self.assertEqual(len(self.upstream.asked), 1)
