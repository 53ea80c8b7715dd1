"""An export target in a bucket, or in any other `Blobs`. It is listed once; from then on its
content is known.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from hashlib import md5
from itertools import islice
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import DeferredSemaphore

from pypid.core.errors import Missing
from pypid.core.model import Blob
from pypid.core.packaging.names import ProjectName
from pypid.export.targets import Copy, Stamp, all_of, check_manifest
from pypid.export.tree import JSON_PAGE, MANIFEST, PAGE, WrittenPage, owner_of
from pypid.flow import BytesBody, World, whole
from pypid.ports import Blobs, Body

AT_ONCE = 8
"""Number of objects written or deleted at the same time."""
JSON = "application/json"
HTML = "text/html; charset=utf-8"
SIMPLE = "application/vnd.pypi.simple.v1+json"


class Closing(Blobs, Protocol):
    """A store that must be closed."""

    async def close(self) -> None:
        """Close the store."""


@frozen
class _There:
    """What is known of an object.

    `digest`: of its bytes, if it is a page that this process wrote; `stamp`: see `Copy.stamp`, if
    it is a copy that this process made: its `modified` comes from another clock.
    """

    size: int
    modified: datetime
    etag: str = field(repr=False)
    digest: str | None = None
    stamp: int | None = None


def content_type(key: str) -> str | None:
    """Return the content type that pypid uses for a page; None for files, whose type the store
    sets.
    """
    match key.split("/"):
        case ["simple", *_, page] if page == JSON_PAGE:
            return SIMPLE
        case ["pypi", *_, "json"] | ["integrity", *_, "provenance"]:
            return JSON
        case ["packages", *_]:
            return None
        case [*_, last] if last.endswith(".html"):
            return HTML
        case [*_, last] if last.endswith(".xml"):
            return "text/xml; charset=utf-8"
        case [*_, last] if last.endswith(".js"):
            return "text/javascript; charset=utf-8"
    return JSON if key == MANIFEST else None


class BucketPlace:
    """A store of its own, or a prefix of one. `opening` is called at the first use."""

    compressed = False  # nothing in front of a bucket looks for them

    def __init__(self, opening: Callable[[], Awaitable[Closing]], world: World) -> None:
        self._opening = opening
        self._opened: Closing | None = None
        self._world = world
        self._have: dict[str, dict[str, _There]] = {}
        """Objects by project ("" for paths that no export writes), then by path."""
        self._turns = DeferredSemaphore(AT_ONCE)

    async def _blobs(self) -> Closing:
        if self._opened is None:
            self._opened = await self._opening()
        return self._opened

    async def claim(self, stamp: Stamp, *, clears: bool) -> None:
        blobs = await self._blobs()
        self._have = {}
        async with aclosing(blobs.list()) as listing:
            async for blob in listing:
                self._note(blob, None)
        manifest = None
        with suppress(Missing):
            manifest = await whole(await blobs.read(MANIFEST), 1 << 16)
        check_manifest(manifest, not self._have, stamp, "The target", clears=clears)
        if manifest != stamp.text():
            await blobs.write(MANIFEST, BytesBody(stamp.text()), replace=True)

    def _note(self, blob: Blob, digest: str | None, stamp: int | None = None) -> None:
        if not blob.key.startswith("."):
            there = _There(blob.size, blob.modified, blob.etag, digest, stamp)
            self._have.setdefault(owner_of(blob.key) or "", {})[blob.key] = there

    def _find(self, path: str) -> _There | None:
        return self._have.get(owner_of(path) or "", {}).get(path)

    async def recall(self) -> bytes | None:
        return None  # `claim` lists all objects, and so knows the digest of each page

    async def remember(self, state: bytes) -> None:
        return None

    async def projects(self) -> Mapping[ProjectName, bool]:
        return {
            ProjectName(name): all(f"simple/{name}/{page}" in paths for page in (PAGE, JSON_PAGE))
            for name, paths in self._have.items()
            if name and paths
        }

    async def put(self, groups: Sequence[Sequence[WrittenPage]]) -> Sequence[tuple[int, int]]:
        jobs = [self._turns.run(self._put, page) for pages in groups for page in pages]
        done = iter(await all_of(jobs))
        counts = [sum(islice(done, len(pages))) for pages in groups]
        return [(count, len(pages) - count) for count, pages in zip(counts, groups, strict=True)]

    async def _put(self, page: WrittenPage) -> bool:
        hashed = md5(page.body, usedforsecurity=False).hexdigest()
        there = self._find(page.path)
        if there is not None and hashed in (there.digest, there.etag.strip('"')):
            return False
        blobs = await self._blobs()
        self._note(await blobs.write(page.path, BytesBody(page.body), replace=True), hashed)
        return True

    async def of(self, names: Iterable[ProjectName]) -> Mapping[ProjectName, Sequence[str]]:
        return {name: list(self._have.get(name, ())) for name in names}

    async def lacks(self, copies: Sequence[Copy]) -> Sequence[Copy]:
        return [copy for copy in copies if not self._has(copy)]

    def _has(self, copy: Copy) -> bool:
        there, uploaded = self._find(copy.path), copy.file.uploaded
        if there is None or copy.size not in (None, there.size):
            return False
        if there.stamp is not None:
            return there.stamp == copy.stamp
        return uploaded is None or there.modified >= uploaded.replace(microsecond=0)

    async def copy(self, copy: Copy, body: Body) -> None:
        blobs = await self._blobs()
        self._note(await blobs.write(copy.path, body, replace=True), None, copy.stamp)

    async def remove(self, paths: Sequence[str]) -> int:
        pages = [path for path in paths if not path.startswith(("packages/", "integrity/"))]
        for those in (pages, [path for path in paths if path not in set(pages)]):
            await all_of([self._turns.run(self._remove, path) for path in those])
        return len(paths)

    async def _remove(self, path: str) -> None:
        blobs = await self._blobs()
        await blobs.delete(path)
        self._have.get(owner_of(path) or "", {}).pop(path, None)

    async def settle(self) -> None:
        return None

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()
