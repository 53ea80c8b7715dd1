"""What is inside files, wherever they lie: `pypid.index.file_contents`."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from msgspec.structs import replace
from twisted.internet.defer import DeferredSemaphore
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.files import FilesBlobs, FilesSettings
from pypid.blobs.files import open as open_files
from pypid.blobs.memory import MemoryBlobs
from pypid.catalog.memory import MemoryCatalog
from pypid.core.configuration.choices import Mode
from pypid.core.errors import Busy, NoSuchFile, Opaque, StorageDown, UpstreamDown, WrongBytes
from pypid.core.model import Span, StoredFile, as_stored
from pypid.core.policy import Policy
from pypid.flow import BytesBody, start
from pypid.flow.spool import sweep
from pypid.index import Index
from pypid.index import file_contents as contents_module
from pypid.index.file_contents import AT_ONCE, MOST_WAITING, Contents
from pypid.index.views import DIRECT
from pypid.ports import Blobs, Body
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.index.file_cache_cases import ScriptedUpstream, listed
from tests.support import Fed, world
from tests.support.worlds import Awaiting


class ContentsTests(Awaiting, SynchronousTestCase):
    """A reader of files of ours, and of upstream's."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        sweep(self.folder)
        self.upstream = ScriptedUpstream()
        self.clock = world().clock
        self.contents = self.on(MemoryBlobs(world().now))

    def on(self, blobs: Blobs, mode: Mode = Mode.CACHE) -> Contents:
        """One who looks into what this storage has."""
        self.blobs = blobs
        index = Index(
            blobs, MemoryCatalog(), self.upstream, Policy(mode=mode), world(), spool=self.folder
        )
        self.have(index.reconcile())
        return Contents(index, self.folder, DeferredSemaphore(1))

    def ours(self, data: bytes, filename: str) -> StoredFile:
        """A file that lies in the storage."""
        self.have(self.blobs.write(filename, BytesBody(data)))
        return as_stored(listed(data, filename), source=None, key=filename)

    def spooled(self) -> list[str]:
        return [path.name for path in self.folder.iterdir()]

    def test_on_a_disk(self) -> None:
        """An sdist that lies in a folder is read where it lies: nothing is written, and it may be
        larger than a spool.
        """
        self.contents = self.on(
            self.have(open_files(FilesSettings(Path(self.mktemp()), create=True), world()))
        )
        self.assertIsInstance(self.blobs, FilesBlobs)
        self.patch(contents_module, "MOST_SPOOLED", 10)
        self.patch(contents_module, "Spool", None)
        file = self.ours(sdist(files={"a.py": b"a"}), sdist_filename())
        self.assertEqual(self.have(self.contents.listing(file)).total, 3)
        self.assertEqual(self.have(self.contents.member(file, "spam-1.0/a.py")).data, b"a")

    def test_too_large(self) -> None:
        """Elsewhere, what is larger than a spool is not fetched, or no longer than that."""
        self.patch(contents_module, "MOST_SPOOLED", 100)
        file = self.ours(sdist(), sdist_filename())
        self.refused(self.contents.listing(file), Opaque)
        theirs = listed(sdist(), sdist_filename())
        self.refused(self.contents.listing(theirs), Opaque)
        self.assertEqual(self.upstream.asked, [])
        assert theirs.source is not None
        for size in (None, 5000):
            body = Fed(*[b"x" * 60] * 3, size=size)
            self.upstream.feeds(theirs.source, body)
            self.contents = self.on(MemoryBlobs(world().now), Mode.REDIRECT)
            self.refused(self.contents.listing(replace(theirs, size=None)), Opaque)
            self.assertTrue(body.closed)
        self.assertEqual(self.spooled(), [])

    def test_parts(self) -> None:
        """Of a large wheel only the end and the member are read."""
        data = wheel(files={"large.bin": bytes(range(256)) * 4000, "a.py": b"x"}, compression=0)
        file = listed(data, wheel_filename())
        assert file.source is not None
        self.upstream.sends(file.source, data)
        self.assertEqual(self.have(self.contents.member(file, "a.py")).data, b"x")
        self.assertLess(
            sum(span.stop - span.start for _, span in self.upstream.asked if span), 70_000
        )
        self.upstream.asked.clear()
        self.have(self.contents.member(file, "a.py"))
        self.have(self.contents.listing(file))
        self.assertEqual(self.upstream.asked, [])

    def test_cached_contents_need_the_right_to_fetch(self) -> None:
        """What one client has looked into is shown to no client that may not have the file
        fetched.
        """
        data = wheel(files={"a.py": b"x"})
        file = listed(data, wheel_filename())
        assert file.source is not None
        self.upstream.sends(file.source, data)
        self.contents = self.on(MemoryBlobs(world().now), Mode.REDIRECT)
        self.have(self.contents.member(file, "a.py"))
        refused = evolve(DIRECT, refusal=UpstreamDown("may not fetch"))
        for permission in (refused, evolve(DIRECT, local=True)):
            kind = NoSuchFile if permission.local else UpstreamDown
            self.refused(self.contents.listing(file, permission), kind)
            self.refused(self.contents.member(file, "a.py", permission), kind)
        self.assertEqual(self.have(self.contents.member(file, "a.py")).data, b"x")

    def test_of_unknown_length(self) -> None:
        """A wheel of which nobody says how long it is is fetched as a whole."""
        data = wheel(files={"a.py": b"x"})
        file = listed(data, wheel_filename(), size=None)
        assert file.source is not None
        self.upstream.sends(file.source, data)
        self.assertEqual(self.have(self.contents.member(file, "a.py")).data, b"x")

    def test_wrong(self) -> None:
        """What is not as it was listed, in length or by its hash, is not shown."""
        data = sdist()
        file = listed(data, sdist_filename())
        assert file.source is not None
        self.upstream.sends(file.source, sdist(files={"b": b""}))
        self.refused(self.contents.listing(file), WrongBytes)
        self.contents = self.on(MemoryBlobs(world().now), Mode.REDIRECT)
        self.refused(self.contents.listing(file), WrongBytes)
        self.assertEqual(self.spooled(), [])

    def test_broken(self) -> None:
        """What ends too early, or gives more than was asked for, cannot be looked into; a disk that
        fails is 503.
        """
        file = listed(wheel(), wheel_filename())
        for error, kind in (
            (EOFError("short"), Opaque),
            (OSError("disk"), StorageDown),
            (UpstreamDown("x"), UpstreamDown),
        ):

            async def fetch(
                url: str, span: Span | None, via: object, error: Exception = error, **_: bool
            ) -> Body:
                return Fed(error)

            self.upstream.fetch = fetch  # type: ignore[method-assign,assignment]
            self.contents = self.on(MemoryBlobs(world().now), Mode.REDIRECT)
            self.refused(self.contents.listing(file), kind)

        async def longer(url: str, span: Span | None, via: object, **_: bool) -> Body:
            return BytesBody(b"x" * (17 << 20))

        self.upstream.fetch = longer  # type: ignore[method-assign,assignment]
        self.refused(self.contents.listing(file), Opaque)

    def test_together(self) -> None:
        """Many who look at one file at once have it read once; so many others wait, and who comes
        then is told to come back.
        """
        waiting = []
        held = [self.contents._turn.acquire() for _ in range(AT_ONCE)]
        for number in range(MOST_WAITING):
            data = wheel(version=f"{number}.0")
            file = self.ours(data, wheel_filename(version=f"{number}.0"))
            waiting.append(start(self.contents.listing(file)))
        again = start(self.contents.listing(file))
        self.refused(
            self.contents.listing(self.ours(wheel(version="999"), wheel_filename(version="999"))),
            Busy,
        )
        for _ in held:
            self.contents._turn.release()
        self.assertEqual({self.successResultOf(each).total for each in (*waiting, again)}, {4})
        self.assertEqual(self.contents._turn.tokens, AT_ONCE)

    def test_without_a_hash(self) -> None:
        """What may change under its name is looked at anew each time."""
        file = replace(self.ours(wheel(), wheel_filename()), sha256=None)
        self.assertEqual(self.have(self.contents.listing(file)).total, 4)
        self.have(self.blobs.write(wheel_filename(), BytesBody(wheel(files={})), replace=True))
        self.assertEqual(
            self.have(self.contents.listing(replace(file, size=len(wheel(files={}))))).total, 3
        )
