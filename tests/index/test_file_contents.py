"""What is inside files, wherever they lie: `pypid.index.file_contents`."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from twisted.internet.defer import DeferredSemaphore
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.configuration.choices import Mode
from pypid.core.errors import NoSuchFile, Opaque, StorageDown, UpstreamDown, WrongBytes
from pypid.core.model import Span, StoredFile, as_stored
from pypid.core.policy import Policy
from pypid.flow import BytesBody
from pypid.flow.spool import sweep
from pypid.index.file_contents import Contents
from pypid.index.views import DIRECT
from pypid.ports import Blobs, Body
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.index.file_cache_cases import ScriptedUpstream, listed
from tests.index.uploads import an_index
from tests.support import Fed, world
from tests.support.engines import a_catalog
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
        index = an_index(
            blobs, a_catalog(), self.upstream, Policy(mode=mode), world(), spool=self.folder
        )
        self.have(index.maintenance.reconcile())
        return Contents(index, self.folder, DeferredSemaphore(1))

    def ours(self, data: bytes, filename: str) -> StoredFile:
        """A file that lies in the storage."""
        self.have(self.blobs.write(filename, BytesBody(data)))
        return as_stored(listed(data, filename), source=None, key=filename)

    def spooled(self) -> list[str]:
        return [path.name for path in self.folder.iterdir()]

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
