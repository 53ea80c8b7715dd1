"""Listings of a bucket (ListObjectsV2), one page after another."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from attrs import frozen

from pypid.blobs.keys import segments
from pypid.blobs.s3.client import S3Client, S3Request, plain_etag
from pypid.blobs.s3.refusals import local, parsed, texts
from pypid.core.errors import StorageDown
from pypid.core.model import Blob
from pypid.core.tiering_rules import ARCHIVES
from pypid.flow import World
from pypid.http_client.connections import Fault

LONGEST_PAGE = 8 << 20
"""Bytes: a thousand keys of 1,024 bytes, each percent-encoded, with their properties."""
SCRATCH = ".pypid/tmp/"
"""The prefix where `probing` tests the store; as in a folder (`blobs.files`), nothing below it is a
blob.
"""


@frozen
class ListPage:
    """One page of blobs, in order. `token` requests the next page, if any."""

    blobs: Sequence[Blob]
    token: str | None


class Lister:
    """Lists the objects below `prefix` in the bucket; keys in pages are without it."""

    def __init__(self, asker: S3Client, prefix: str, world: World) -> None:
        self._asker = asker
        self._prefix = prefix
        self._world = world

    async def page(self, prefix: str, *, token: str | None = None, most: int = 1000) -> ListPage:
        """Return one page of the keys that begin with `prefix`. Raises `StorageDown`."""
        query = {
            "list-type": "2",
            "prefix": self._prefix + prefix,
            "encoding-type": "url",
            "max-keys": str(most),
        }
        if token is not None:
            query["continuation-token"] = token
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
    token = fields.get("NextContinuationToken") or None
    match fields.get("IsTruncated", ""):
        case "true" if token is not None:
            pass
        case "false":
            token = None
        case _:
            raise Fault("its listing does not say whether it ends.")
    return ListPage(tuple(blob for blob in found if blob is not None), token)


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


async def listed(lister: Lister, prefix: str) -> AsyncGenerator[Blob]:
    """Yield every blob whose key begins with `prefix`, in order, each once. Raises `StorageDown`.
    Close it by hand.
    """
    last, token = None, None
    while True:
        page = await lister.page(prefix, token=token)
        for blob in page.blobs:
            if last is not None and blob.key <= last:
                raise StorageDown("it lists its keys in another order than S3 does.")
            last = blob.key
            yield blob
        token = page.token
        if token is None:
            return
