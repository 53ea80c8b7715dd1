"""What the tests of kept files share: an upstream that is told what to send, and clients who read
at the pace of the test.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import aclosing
from hashlib import sha256, shake_128
from pathlib import Path

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.catalog.shared import SharedCatalog
from pypid.core.configuration.choices import Mode
from pypid.core.errors import NotThere
from pypid.core.model import File, ListedFile, Listing, Presence, Span, StoredFile, as_stored
from pypid.core.packaging.names import ProjectName, parse_filename
from pypid.core.policy import Policy
from pypid.core.records.layout import kept_folder
from pypid.flow import Blocking, BytesBody, at_once, start
from pypid.flow.spool import sweep
from pypid.http_client.circuit_breaker import CircuitBreaker
from pypid.index.upstream.cache_store import CacheStore, cached_files
from pypid.index.upstream.file_cache import FileCache
from pypid.index.upstream.listings import FileHostBreakers, UpstreamGate
from pypid.ports import Blobs, Body, Upstream
from tests.support import Fed, contents, world
from tests.support.engines import a_catalog
from tests.support.worlds import Awaiting

KIB = 1 << 10
HELD = 64 * KIB
FILES = "https://files.example/"


def noise(size: int) -> bytes:
    """The same bytes for the same size, which no two places have in common."""
    return shake_128(b"%d" % size).digest(size)


async def no_metadata() -> bytes | None:
    """Return None, as for a file that has no metadata."""
    return None


def listed(data: bytes, filename: str = "spam-1.0.tar.gz", **fields: object) -> File:
    """A file as upstream's page lists it: with its sha256 and size, unless told otherwise."""
    distribution = parse_filename(filename)
    file = ListedFile(
        project=distribution.project,
        filename=filename,
        version=distribution.version,
        sha256=sha256(data).hexdigest(),
        size=len(data),
        source=FILES + filename,
    )
    return (as_stored if "key" in fields else replace)(file, **fields)  # type: ignore[arg-type]


def provenance_of(file: File, **fields: object) -> bytes:
    """A provenance object about the file, of the right form; its signature proves nothing."""
    text = b64encode(b"any").decode()
    about = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": file.filename, "digest": {"sha256": file.sha256}, **fields}],
        "predicateType": "https://docs.pypi.org/attestations/publish/v1",
    }
    attestation = {
        "version": 1,
        "verification_material": {"certificate": text, "transparency_entries": [{}]},
        "envelope": {
            "statement": b64encode(json.dumps(about).encode()).decode(),
            "signature": text,
        },
    }
    publisher = {"kind": "GitHub", "repository": "monty/spam", "workflow": "release.yml"}
    bundle = {"publisher": publisher, "attestations": [attestation]}
    return json.dumps({"version": 1, "attestation_bundles": [bundle]}).encode()


async def read_kept(blobs: Blobs, name: ProjectName) -> tuple[StoredFile, ...]:
    """The project's cached files in the storage."""
    async with aclosing(blobs.list(kept_folder(name))) as listing:
        return await cached_files(blobs, name, [blob async for blob in listing])


class ScriptedUpstream:
    """Answers each URL with what the test says, and takes down what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[Span | None], Body] | Exception | Deferred[Body]] = {}
        self.asked: list[tuple[str, Span | None]] = []

    def sends(self, url: str, data: bytes) -> None:
        """From now on these bytes are there, whole and in parts."""
        self.answers[url] = lambda span: BytesBody(
            data if span is None else data[span.start : span.stop]
        )

    def feeds(self, url: str, body: Body) -> None:
        """The next whole answer is this body."""
        self.answers[url] = lambda span: body

    async def fetch(
        self, url: str, span: Span | None, via: Sequence[str], *, verified: bool = True
    ) -> Body:
        self.asked.append((url, span))
        answer = self.answers.get(url, NotThere(url))
        if isinstance(answer, Exception):
            raise answer
        return await answer if isinstance(answer, Deferred) else answer(span)

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        raise NotImplementedError

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        raise NotImplementedError


def envoy_of(upstream: Upstream) -> UpstreamGate:
    """An envoy of an index that has nothing of its own, and may ask for any name."""

    async def nothing(name: ProjectName) -> Presence:
        return Presence.ABSENT

    return UpstreamGate(
        upstream,
        Policy(mode=Mode.CACHE),
        "pypid-test",
        nothing,
        CircuitBreaker(world()),
        FileHostBreakers(world()),
    )


class Client:
    """Somebody who reads a body: all of it, or `most` pieces until he is told to go on."""

    def __init__(
        self, file_cache: FileCache, file: File, span: Span | None = None, most: int | None = None
    ) -> None:
        self.got = b""
        self.size: int | None = None
        self._left = most
        self._waits: Deferred[None] = Deferred()
        self.ended = start(self._read(file_cache, file, span))

    async def _read(self, file_cache: FileCache, file: File, span: Span | None) -> bytes:
        body = await file_cache.open(file, span, ())
        try:
            self.size = body.size
            async for piece in body:
                self.got += piece
                if self._left is not None:
                    self._left -= 1
                    if self._left == 0:
                        await self._waits
        finally:
            await body.aclose()
        return self.got

    def go_on(self) -> None:
        """Read the rest."""
        self._waits.callback(None)


class KeeperCase(Awaiting, SynchronousTestCase):
    """Each test with a new keeper, storage in memory, and threads that are none."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        sweep(self.folder)
        self.upstream = ScriptedUpstream()
        self.blobs: Blobs = MemoryBlobs(world().now)
        self.catalog = a_catalog()
        self.file_cache = self.another()

    def another(
        self,
        blocking: Blocking = at_once,
        catalog: SharedCatalog | None = None,
        **settings: int,
    ) -> FileCache:
        """A keeper of the same storage."""
        outside = world(blocking=blocking)
        return FileCache(
            CacheStore(self.blobs, catalog or self.catalog, outside.blocking),
            envoy_of(self.upstream),
            outside,
            self.folder,
            **settings,
        )

    def client(self, file: File, span: Span | None = None, most: int | None = None) -> Client:
        return Client(self.file_cache, file, span, most)

    def spooled(self) -> list[str]:
        return [path.name for path in self.folder.iterdir()]

    def kept(self, file: File) -> File | None:
        """What the catalog says of it."""
        return self.have(self.catalog.upstream.get(file.project)).kept_file(file.filename)

    def stored(self) -> list[str]:
        return self.have(contents(self.blobs))

    def fed(self, file: File, *pieces: bytes | Exception | None, size: int | None = None) -> Fed:
        """Upstream's next answer for the file: a body that the test feeds."""
        body = Fed(*pieces, size=size)
        assert file.source is not None
        self.upstream.feeds(file.source, body)
        return body
