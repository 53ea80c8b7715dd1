"""What `pypid storage check` finds wrong in what is kept of theirs, and what it removes."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from attrs import evolve

from pypid.core.model import File, Listing, UpstreamEntry, as_stored
from pypid.core.records.documents import dump_record
from pypid.core.records.layout import ObjectKind, cached_overwrite_key, kept_key
from pypid.flow import BytesBody, start, whole
from pypid.index import Index
from pypid.index.local.publish import UNDER_WAY
from pypid.index.local.storage_check import CheckReport, StorageProblem
from pypid.ports import Body
from tests.distributions import metadata
from tests.index.faulty_blobs import Died, Storm
from tests.index.file_cache_cases import listed, noise
from tests.index.uploads import SPAM, WHEEL, IndexCase, digests, sent, signed

DATA, OTHER = noise(5000), noise(6000)
FILE = listed(DATA, WHEEL)
SDIST = listed(OTHER, "spam-2.0.tar.gz")
DESCRIBED = metadata("spam")
KEPT = kept_key(SPAM, WHEEL)


def keeping(
    index: Index, file: File, data: bytes, described: bytes | None = None
) -> Coroutine[Any, Any, File]:
    """Keep the file."""

    async def body() -> Body:
        return BytesBody(data)

    async def metadata() -> bytes | None:
        return described

    return index.file_cache.kept.keep(file, digests(data), body, metadata)


class AuditCase(IndexCase):
    """A storage with two kept files, and two of ours of the same project."""

    def setUp(self) -> None:
        super().setUp()
        self.publish(signed())
        self.have(keeping(self.index, FILE, DATA, DESCRIBED))
        self.have(keeping(self.index, SDIST, OTHER))
        self.before = self.keys()

    def check(self, *, sweep: bool = False, hashes: bool = False, old: bool = True) -> CheckReport:
        if old:
            self.clock.advance(UNDER_WAY.total_seconds())
        return self.have(self.index.maintenance.check(sweep=sweep, hashes=hashes))

    def found(
        self, *, sweep: bool = False, hashes: bool = False, old: bool = True
    ) -> dict[str, StorageProblem]:
        return {
            each.key: each.wrong
            for each in self.check(sweep=sweep, hashes=hashes, old=old).findings
        }

    def sweeps(self, hashes: bool = False) -> None:
        """All that is found is removed, and then nothing is wrong; the catalog holds what the
        storage does; ours stays.
        """
        self.assertTrue(all(each.swept for each in self.check(sweep=True, hashes=hashes).findings))
        self.assertEqual(self.found(hashes=True), {})
        self.assertEqual(self.kept(), self.kept(self.restarted()))
        self.assertLessEqual(
            {key for key in self.before if not key.startswith(".kept/")}, set(self.keys())
        )

    def kept(self, index: Index | None = None) -> tuple[File, ...]:
        """What an index knows to be kept."""
        return self.have((index or self.index).file_cache.kept.entry(SPAM)).kept

    def names(self) -> list[str]:
        return [file.filename for file in self.kept()]

    def heard(self, *files: File) -> None:
        """Upstream has listed these, and no others."""
        said = Listing(
            name=SPAM,
            files=files,
            confirmed=self.index.context.world.now(),
            index="https://up.example/simple/",
        )

        def told(heard: UpstreamEntry) -> UpstreamEntry:
            return evolve(heard, listing=said)

        self.have(self.index.catalog.upstream.edit(SPAM, told))


class AuditTests(AuditCase):
    """One thing wrong at a time."""

    def test_other_metadata(self) -> None:
        """Metadata that is not that of the record goes alone; then it is no longer promised."""
        self.assertIsNotNone(self.kept()[0].metadata_sha256)
        self.put(f"{KEPT}.metadata", b"Metadata-Version: 9\n")
        self.assertEqual(self.found(), {})
        self.assertEqual(
            self.found(hashes=True), {f"{KEPT}.metadata": StorageProblem.OTHER_DOCUMENT}
        )
        self.sweeps(hashes=True)
        self.assertEqual(len(self.names()), 2)
        self.assertIsNone(self.kept()[0].metadata_sha256)

    def test_damaged(self) -> None:
        """A record that cannot be read, or is another file's, is found, and its bytes
        go with it.
        """
        for data in (
            b"{",
            b"",
            dump_record(as_stored(SDIST, key=KEPT)),
            dump_record(as_stored(FILE, key=f"spam/{WHEEL}")),
        ):
            self.setUp()
            where = kept_key(SPAM, WHEEL, ObjectKind.RECORD)
            self.put(where, data)
            self.assertEqual(self.found(), {where: StorageProblem.DAMAGED})
            self.sweeps()
            self.assertEqual([key for key in self.keys() if key.startswith(KEPT)], [])

    def test_left_over(self) -> None:
        """Bytes that no record names are found once they are old, and removed; those of other files
        stay.
        """
        orphans = [
            kept_key(SPAM, "spam-3.0.tar.gz"),
            cached_overwrite_key(SPAM, WHEEL, "ab" * 32),
            cached_overwrite_key(SPAM, WHEEL, "ab" * 32) + ".metadata",
            ".kept/eggs/eggs-1.0.tar.gz",
        ]
        self.clock.advance(UNDER_WAY.total_seconds())
        for key in orphans:
            self.put(key, b"left")
        self.assertEqual(self.found(sweep=True, old=False), {})
        self.assertEqual(self.found(), dict.fromkeys(orphans, StorageProblem.LEFT_OVER))
        self.sweeps()
        self.assertEqual(self.keys(), self.before)

    def test_kept_meanwhile(self) -> None:
        """Bytes that come to be named between finding and removing stay."""
        self.put(kept_key(SPAM, "spam-3.0.tar.gz"), DATA)
        self.clock.advance(UNDER_WAY.total_seconds())
        this, third = self, listed(DATA, "spam-3.0.tar.gz")

        class Late(Storm):
            async def _before(self, what: str) -> None:
                await super()._before(what)
                if (
                    what == f"stat {kept_key(SPAM, third.filename)}"
                    and third.filename not in this.names()
                ):
                    await keeping(this.index, third, DATA)

        late = self.restarted(Late(self.store, 1 << 30, Died))
        late.file_cache.kept = self.index.file_cache.kept
        [finding] = self.have(late.maintenance.check(sweep=True)).findings
        self.assertFalse(finding.swept)
        self.assertEqual(len(self.names()), 3)


class AfterCrashTests(AuditCase):
    """What crashes leave is swept, and what is kept whole is not."""

    def test_after_each_crash(self) -> None:
        """Wherever a process died while it kept, replaced or forgot a file, a sweep leaves what can
        be served, whole.
        """
        changes = (
            lambda index: keeping(
                index, listed(noise(100), "spam-3.0.tar.gz"), noise(100), DESCRIBED
            ),
            lambda index: keeping(index, listed(OTHER, WHEEL), OTHER, DESCRIBED),
            lambda index: index.file_cache.forget(SPAM, WHEEL),
        )
        for change in changes:
            for nth in range(1, 40):
                self.setUp()
                storm = Storm(self.store, nth, Died, for_good=True)
                start(change(self.restarted(storm))).addErrback(lambda failure: None)
                self.clock.advance(UNDER_WAY.total_seconds())
                self.index = self.restarted()
                before = self.kept()
                self.sweeps()
                self.assertEqual(self.kept(), before)
                for file in self.kept():
                    self.assertEqual(digests(self.have(self.read(file.key))).sha256, file.sha256)
                if not storm.struck:
                    break
            else:
                self.fail("a change of more than 39 operations")

    async def read(self, key: str) -> bytes:
        return await whole(await self.store.read(key), 1 << 20)

    def test_ours_beside(self) -> None:
        """A sweep of theirs leaves alone what is ours and looks alike."""
        self.publish(sent(DATA, "spam-3.0-py3-none-any.whl"))
        self.put(kept_key(SPAM, "spam-3.0-py3-none-any.whl"), DATA)
        self.before = self.keys()
        files = self.files()
        self.sweeps()
        self.assertEqual(self.files(), files)
