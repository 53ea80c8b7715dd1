"""Pages of listings of objects (ListObjectsV2)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from attrs import frozen

from pypid.blobs.keys import segments
from pypid.blobs.s3.client import S3Client, S3Request
from pypid.blobs.s3.object_head import plain_etag
from pypid.blobs.s3.refusals import S3Refusal, local, parsed, texts
from pypid.core.model import Blob
from pypid.core.tiering_rules import ARCHIVES
from pypid.flow import World
from pypid.http_client.faults import Fault

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
        try:
            result = await self._asker.tell(question, LONGEST_PAGE)
            return await self._world.thinking(_page, result.data, self._prefix)
        except (S3Refusal, Fault) as problem:
            raise self._asker.failed(problem, question) from problem


def _page(data: bytes, prefix: str) -> ListPage:
    """Parse a page; takes some milliseconds. Raises `Fault` if it is not a listing."""
    root = _root(data, "ListBucketResult")
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


def _root(data: bytes, name: str) -> ElementTree.Element:
    root = parsed(data)
    if root is None or local(root) != name:
        raise Fault("its listing cannot be read.")
    return root


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
