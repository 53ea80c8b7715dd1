"""Uploads as the web hands them to the index, an index over a store, and what must be true of it at
any time.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, TypeVar

from attrs import define, evolve, field, fields_dict, frozen
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.indexes import IndexSettings
from pypid.core.model import Digests, File, Project, Upload
from pypid.core.packaging.names import parse_filename, project_name
from pypid.core.policy import Policy
from pypid.flow import BytesBody, World, whole
from pypid.flow.spool import Hashes
from pypid.index import Index
from pypid.index.context import IndexContext
from pypid.index.index import OtherIndexes, UpstreamSource
from pypid.index.local.publish import PublishOutcome
from pypid.ports import Blobs, Body, Catalog, Upstream
from pypid.upstream.nothing import Nothing
from tests.support import world
from tests.support.engines import a_catalog
from tests.support.worlds import Awaiting

T = TypeVar("T")

WHEEL = "spam-1.0-py3-none-any.whl"
SPAM = project_name("spam")


def digests(data: bytes) -> Digests:
    """The hashes of `data`."""
    hashes = Hashes()
    hashes.update(data)
    return hashes.digests()


@frozen
class Sent:
    """An upload that was received and checked, with its bytes. They need be no archive: the index
    does not look inside.
    """

    upload: Upload
    data: bytes

    async def body(self) -> Body:
        """The bytes, anew."""
        return BytesBody(self.data)


def sent(data: bytes = b"spam", filename: str = WHEEL, **more: Any) -> Sent:
    """An upload of `data` under this name; with metadata of its own, unless told otherwise."""
    distribution = parse_filename(filename)
    more.setdefault("metadata", b"Metadata-Version: 2.1\nSummary: " + data[:20] + b"\n")
    return Sent(
        Upload(
            distribution=distribution, version=distribution.version, digests=digests(data), **more
        ),
        data,
    )


def signed(data: bytes = b"spam", filename: str = WHEEL) -> Sent:
    """An upload with all that can lie beside a file."""
    return sent(data, filename, provenance=b'{"of": "%s"}' % data)


@define(eq=False)
class NoOthers:
    """The indexes of a pypid without named ones (`index.OtherIndexes`)."""

    index: Index = field(init=False)
    upstreams: Mapping[str, Index] = field(factory=dict)
    settings: Mapping[str, IndexSettings] = field(factory=dict, init=False)

    @property
    def only(self) -> Mapping[str, tuple[str, ...]]:
        return self.index.choice.only

    @property
    def made(self) -> Sequence[Index]:
        return tuple(self.upstreams.values())

    async def named_parts(self, *, former: bool = False) -> Sequence[Index]:
        return self.made

    def find(self, name: str) -> Index | None:
        return self.index if name == self.index.name else self.upstreams.get(name)


def an_index(
    blobs: Blobs,
    catalog: Catalog,
    upstream: Upstream,
    policy: Policy,
    world: World,
    *,
    indexes: OtherIndexes | None = None,
    **more: Any,
) -> Index:
    """An index; `more` as in `IndexContext`, `UpstreamSource` and `Index`, and the `upstreams` of a
    pypid without named indexes.
    """
    others = indexes or NoOthers(more.pop("upstreams", {}))
    parts = {
        kind: {each: more.pop(each) for each in list(more) if each in fields_dict(kind)}
        for kind in (IndexContext, UpstreamSource)
    }
    context = IndexContext(blobs, catalog, policy, world, **parts[IndexContext])
    index = Index(context, UpstreamSource(upstream, **parts[UpstreamSource]), others, **more)
    if isinstance(others, NoOthers):
        others.index = index
    return index


def index_over(blobs: Blobs, clock: Clock | None = None, **more: Any) -> Index:
    """An index that has just been started over the store, and has compared nothing yet; `more` as
    in `an_index`.
    """
    return an_index(blobs, a_catalog(), Nothing(), Policy(), world(clock), **more)


def publishing(
    index: Index, what: Sent, *, overwrite: bool = False, by: str = "alice"
) -> Coroutine[Any, Any, PublishOutcome]:
    """Publish it."""
    return index.publish(what.upload, what.body, by, overwrite=overwrite)


async def fetched(index: Index, file: File) -> bytes:
    """The bytes that a client gets."""
    return await whole(await index.open(file), 1 << 30)


def unnumbered(project: Project) -> Project:
    """The project without its serial, to be compared with another catalog's."""
    return evolve(project, serial=0)


async def everything(index: Index) -> dict[str, Project]:
    """All that the catalog holds."""
    held = {}
    for summary in await index.catalog.local.summaries():
        project = await index.catalog.local.get(summary.name)
        assert isinstance(project, Project)
        held[summary.name] = unnumbered(project)
    return held


class Described(MemoryBlobs):
    """A store in memory that keeps a description with each blob, as a bucket does."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(now)
        self.said: dict[str, Mapping[str, str]] = {}

    async def description(self, key: str) -> Mapping[str, str]:
        await self.stat(key)
        return self.said.get(key, {})


class IndexCase(Awaiting, SynchronousTestCase):
    """Each test with an index over an empty store in memory."""

    adopts = False
    """Whether files without a record are adopted at the start."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.store: Blobs = MemoryBlobs(world(self.clock).now)
        self.index = self.restarted()

    def restarted(self, blobs: Blobs | None = None, *, shared: bool = False) -> Index:
        """An index as a process that starts now makes it."""
        describing = self.store if isinstance(self.store, Described) else None
        return index_over(
            blobs or self.store,
            self.clock,
            shared=shared,
            adopts=self.adopts,
            describing=describing,
        )

    def publish(
        self, what: Sent, *, overwrite: bool = False, index: Index | None = None
    ) -> PublishOutcome:
        """Publish, now."""
        return self.have(publishing(index or self.index, what, overwrite=overwrite))

    def put(self, key: str, data: bytes) -> None:
        """Somebody writes into the store by hand."""
        self.have(self.store.write(key, BytesBody(data), replace=True))

    def get(self, key: str) -> bytes:
        """What lies under the key."""

        async def read() -> bytes:
            return await whole(await self.store.read(key), 1 << 30)

        return self.have(read())

    def keys(self) -> list[str]:
        """What lies in the store, without what belongs to it as a whole."""

        async def listed() -> list[str]:
            return [blob.key async for blob in self.store.list()]

        return [key for key in self.have(listed()) if not key.startswith(".pypid/")]

    def files(self, index: Index | None = None) -> dict[str, bytes]:
        """What can be installed: each file that is listed, with its bytes. Fails where a page would
        lie.
        """
        index = index or self.index

        async def listed() -> dict[str, bytes]:
            got = {}
            for summary in await index.own_lists.listed():  # also where not all is compared yet
                for file in (await index.project(summary.name)).files:
                    data = await fetched(index, file)
                    self.assertEqual(
                        (sha256(data).hexdigest(), len(data)),
                        (file.sha256, file.size),
                        file.filename,
                    )
                    if file.metadata_sha256 is not None:
                        self.assertEqual(
                            sha256(await index.metadata(file)).hexdigest(), file.metadata_sha256
                        )
                    if file.attested:
                        await index.provenance(file)
                    got[file.filename] = data
            return got

        return self.have(listed())

    def compared(self, index: Index | None = None) -> Index:
        """The index, compared with the store; its catalog is what one made from
        nothing would be.
        """
        index = index or self.index
        self.have(index.maintenance.reconcile())
        anew = self.restarted()
        self.have(anew.maintenance.reconcile())
        self.assertEqual(self.have(everything(index)), self.have(everything(anew)))
        return index

    def at_rest(self, index: Index | None = None) -> None:
        """Nobody holds a lock any more."""
        context = (index or self.index).context
        self.assertEqual(
            (
                context.records.locks._locks,
                context.places._locks,
                context.records._flights._waiting,
            ),
            ({}, {}, {}),
        )
