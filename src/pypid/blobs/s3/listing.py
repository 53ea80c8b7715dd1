"""Listings of a bucket, one page after another and many at a time.

Pages of listings of objects (ListObjectsV2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from attrs import frozen
from twisted.internet.defer import Deferred

from pypid.blobs.keys import segments
from pypid.blobs.s3.client import S3Client, S3Request, plain_etag
from pypid.blobs.s3.refusals import local, parsed, texts
from pypid.core.errors import StorageDown
from pypid.core.model import Blob
from pypid.core.tiering_rules import ARCHIVES
from pypid.flow import World, start
from pypid.http_client.connections import Fault

LONGEST_PAGE = 8 << 20
"""Bytes: a thousand keys of 1,024 bytes, each percent-encoded, with their properties."""
SCRATCH = ".pypid/tmp/"
"""The prefix where `probing` tests the store; as in a folder (`blobs.files`), nothing below it is a
blob.
"""


@frozen
class ListPage:
    """One page of blobs, in order; `folders` are the common prefixes up to a delimiter. `token`
    requests the next page, if any.
    """

    blobs: Sequence[Blob]
    folders: Sequence[str]
    token: str | None


class Lister:
    """Lists the objects below `prefix` in the bucket; keys in pages are without it."""

    def __init__(self, asker: S3Client, prefix: str, world: World) -> None:
        self._asker = asker
        self._prefix = prefix
        self._world = world

    async def page(
        self,
        prefix: str,
        *,
        token: str | None = None,
        after: str | None = None,
        delimiter: str = "",
        most: int = 1000,
    ) -> ListPage:
        """Return one page of the keys that begin with `prefix`, after the key `after`. Raises
        `StorageDown`.
        """
        query = {
            "list-type": "2",
            "prefix": self._prefix + prefix,
            "encoding-type": "url",
            "max-keys": str(most),
        }
        if token is not None:
            query["continuation-token"] = token
        elif after is not None:
            query["start-after"] = self._prefix + after
        if delimiter:
            query["delimiter"] = delimiter
        question = S3Request("ListObjectsV2", "GET", query=tuple(query.items()))
        with self._asker.failing(question):
            result = await self._asker.tell(question, LONGEST_PAGE)
            return await self._world.thinking(_page, result.data, self._prefix)


def _page(data: bytes, prefix: str) -> ListPage:
    """Parse a page; takes some milliseconds. Raises `Fault` if it is not a listing."""
    root = parsed(data)
    if root is None or local(root) != "ListBucketResult":
        raise Fault("its listing cannot be read.")
    fields = texts(root)
    is_encoded = fields.get("EncodingType", "").lower() == "url"
    found = (_blob(child, prefix, is_encoded) for child in root if local(child) == "Contents")
    folders = (
        _folder(child, prefix, is_encoded) for child in root if local(child) == "CommonPrefixes"
    )
    token = fields.get("NextContinuationToken") or None
    match fields.get("IsTruncated", ""):
        case "true" if token is not None:
            pass
        case "false":
            token = None
        case _:
            raise Fault("its listing does not say whether it ends.")
    return ListPage(
        tuple(blob for blob in found if blob is not None), tuple(filter(None, folders)), token
    )


def _blob(entry: ElementTree.Element, prefix: str, is_encoded: bool) -> Blob | None:
    """Return the blob of an entry; None for markers of folders, invalid keys, and pypid's own
    scratch objects.
    """
    fields = texts(entry)
    key = _ours(fields.get("Key", ""), prefix, is_encoded)
    if key is None or key.startswith(SCRATCH) or segments(key) is None:
        return None
    modified = _date(fields.get("LastModified", ""))
    if not fields.get("Size", "").isdigit() or modified is None:
        raise Fault("its listing lacks an object's size or date.")
    return Blob(
        key,
        int(fields["Size"]),
        modified,
        plain_etag(fields.get("ETag", "")),
        fields.get("StorageClass") in ARCHIVES,
    )


def _folder(entry: ElementTree.Element, prefix: str, is_encoded: bool) -> str | None:
    return next(
        (
            _ours(child.text or "", prefix, is_encoded)
            for child in entry
            if local(child) == "Prefix"
        ),
        None,
    )


def _ours(text: str, prefix: str, is_encoded: bool) -> str | None:
    try:
        key = unquote_plus(text, errors="strict") if is_encoded else text
    except UnicodeDecodeError:
        return None  # another program's: not a valid key of pypid's
    return key.removeprefix(prefix) if key.startswith(prefix) else None


def _date(text: str) -> datetime | None:
    """Return the time to the second, as in the response to a HEAD."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (
        (found if found.tzinfo else found.replace(tzinfo=UTC))
        .astimezone(UTC)
        .replace(microsecond=0)
    )


# A long listing, read as many concurrent listings, and yet in the order of the keys.
#
# Each page of a listing names the next one, so one listing is as slow as all its pages one after
# the other. Several that begin at different keys are not. The keys to begin at are taken from the
# store: its folders, which come a thousand at a time.

T = TypeVar("T")

AT_ONCE = 16
"""Concurrent listings."""
PAGES = 4
"""Intended length of each in pages; the first page shows how many folders that is."""
AHEAD = 12
"""Pages that each may be ahead of the reader. (A page of blobs needs about 400 kB.)"""


async def listed(lister: Lister, prefix: str) -> AsyncGenerator[Blob]:
    """Yield every blob whose key begins with `prefix`, in order, each once. Raises `StorageDown`.
    Close it by hand.
    """
    last = None
    async with aclosing(_pages(lister, prefix)) as pages:
        async for page in pages:
            for blob in page.blobs:
                if last is not None and blob.key <= last:
                    raise StorageDown("it lists its keys in another order than S3 does.")
                last = blob.key
                yield blob


async def _pages(lister: Lister, prefix: str) -> AsyncGenerator[ListPage]:
    page = await lister.page(prefix)
    yield page
    if page.token is None:
        return
    if not page.blobs:  # only markers of folders, or another program's
        async with aclosing(_following(lister, prefix, page.token)) as pages:
            async for page in pages:
                yield page
        return
    spread = _Spread(lister, prefix, page)
    try:
        async with aclosing(spread.pages()) as pages:
            async for page in pages:
                yield page
    finally:
        spread.stop()


async def _following(lister: Lister, prefix: str, token: str | None) -> AsyncGenerator[ListPage]:
    while token is not None:
        page = await lister.page(prefix, token=token)
        yield page
        token = page.token


class _Queue(Generic[T]):
    """A bounded FIFO queue: `put` waits while `room` items are in it."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._held: deque[T] = deque()
        self._ended = False
        self._error: Exception | None = None
        self._changed: deque[Deferred[None]] = deque()

    async def put(self, item: T) -> None:
        while len(self._held) >= self._room:
            await self._change()
        self._held.append(item)
        self._tell()

    def end(self, error: Exception | None = None) -> None:
        self._ended, self._error = True, error
        self._tell()

    async def take(self) -> T | None:
        """Return the next item, or None at the end. Raises the error it ended with."""
        while not self._held:
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            await self._change()
        item = self._held.popleft()
        self._tell()
        return item

    async def _change(self) -> None:
        changed: Deferred[None] = Deferred()
        self._changed.append(changed)
        await changed

    def _tell(self) -> None:
        changed, self._changed = self._changed, deque()
        for one in changed:
            if not one.called:
                one.callback(None)


@frozen
class _Stretch:
    """The keys after `after`, up to and including `until` (None: the end), as pages."""

    after: str
    until: str | None
    queue: _Queue[ListPage]


class _Spread:
    """The concurrent listing of all that follows a first page."""

    def __init__(self, lister: Lister, prefix: str, first: ListPage) -> None:
        self._lister = lister
        self._prefix = prefix
        self._first = first
        self._stretches: _Queue[_Stretch] = _Queue(max(1, AT_ONCE - 1))
        self._running: set[Deferred[None]] = set()

    async def pages(self) -> AsyncGenerator[ListPage]:
        self._run(self._divide(), self._stretches)
        while (stretch := await self._stretches.take()) is not None:
            while (page := await stretch.queue.take()) is not None:
                yield page

    def stop(self) -> None:
        """Cancel all listings."""
        for running in list(self._running):
            running.cancel()

    def _run(self, job: Coroutine[Any, Any, None], queue: _Queue[Any]) -> None:
        running = start(job)
        self._running.add(running)
        running.addCallbacks(lambda _: queue.end(), lambda failure: queue.end(failure.value))
        running.addBoth(lambda _: self._running.discard(running))

    async def _divide(self) -> None:
        """Divide the folders into stretches, as they become known."""
        after = self._first.blobs[-1].key
        together = max(1, PAGES * len({_top(blob.key, self._prefix) for blob in self._first.blobs}))
        count = 0
        token: str | None = None
        while True:
            page = await self._lister.page(
                self._prefix, token=token, after=after if token is None else None, delimiter="/"
            )
            token = page.token
            for folder in page.folders:
                count += 1
                if count % together == 0 and folder > after:
                    await self._begin(after, folder)
                    after = folder
            if token is None:
                return await self._begin(after, None)

    async def _begin(self, after: str, until: str | None) -> None:
        stretch = _Stretch(after, until, _Queue(AHEAD))
        self._run(self._list(stretch), stretch.queue)
        await self._stretches.put(stretch)

    async def _list(self, stretch: _Stretch) -> None:
        page = await self._lister.page(self._prefix, after=stretch.after)
        while True:
            within = tuple(
                blob for blob in page.blobs if stretch.until is None or blob.key <= stretch.until
            )
            if within:
                await stretch.queue.put(ListPage(within, (), None))
            if len(within) < len(page.blobs) or page.token is None:
                return
            page = await self._lister.page(self._prefix, token=page.token)


def _top(key: str, prefix: str) -> str:
    """Return the key up to the first slash after the prefix."""
    return prefix + key[len(prefix) :].partition("/")[0]
