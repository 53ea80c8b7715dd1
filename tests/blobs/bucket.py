"""What an S3 holds and says, in memory: a bucket that checks every signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import md5
from itertools import count
from urllib.parse import parse_qsl, quote_plus, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from attrs import define, field, frozen

from tests.blobs.sigv4 import refused

BUCKET, ACCESS, SECRET = "bucket", "AKIATEST", "very/secret+key"


@frozen
class Asked:
    """A request. `operation` is S3's name for it; `headers` by lower-case name; `body` is what came
    of it so far.
    """

    operation: str
    method: str
    target: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytearray


@define
class Stored:
    """An object."""

    data: bytes
    etag: str
    modified: datetime
    headers: dict[str, str]


@frozen
class Said:
    """An answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(factory=dict)


_OPERATIONS = {
    ("PUT", False, False): "PutObject",
    ("PUT", True, False): "UploadPart",
    ("GET", False, False): "GetObject",
    ("HEAD", False, False): "HeadObject",
    ("DELETE", False, False): "DeleteObject",
    ("POST", False, False): "RestoreObject",
    ("POST", False, True): "CreateMultipartUpload",
    ("POST", True, False): "CompleteMultipartUpload",
    ("DELETE", True, False): "AbortMultipartUpload",
}


def error(code: str, status: int = 400, **more: str) -> Said:
    """An answer that says no."""
    told = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in more.items())
    return Said(status, f"<Error><Code>{code}</Code>{told}<Token-0>hush</Token-0></Error>".encode())


def read_head(head: str) -> Asked:
    """The request that begins so."""
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    path, _, text = target.partition("?")
    query = dict(parse_qsl(text, keep_blank_values=True))
    key = unquote(path.removeprefix(f"/{BUCKET}/"))
    if not key:
        operation = (
            "HeadBucket"
            if method == "HEAD"
            else "GetBucketVersioning"
            if "versioning" in query
            else "ListObjectsV2"
        )
    else:
        operation = _OPERATIONS[method, "uploadId" in query, "uploads" in query]
        if "x-amz-copy-source" in headers:
            operation = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}[operation]
    return Asked(operation, method, target, key, query, headers, bytearray())


class Bucket:
    """A bucket. `able` is what it can do besides: ``once``, ``once_in_parts``, ``checksums``.
    `page` keys fit into one.

    `secrets` by access key; with a `token` only requests that have it are taken. `gone`: somebody
    deleted it.
    """

    def __init__(self, now: Callable[[], datetime], able: Sequence[str]) -> None:
        self.now = now
        self.able = able
        self.secrets = {ACCESS: SECRET}
        self.token = ""
        self.page = 1000
        self.gone = False
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, tuple[str, dict[str, str], dict[int, bytes]]] = {}
        self._numbers = count(1)

    def answer(self, asked: Asked) -> Said:
        """What S3 would say."""
        wrong = refused(
            self.secrets, self.now(), asked.method, asked.target, asked.headers, bytes(asked.body)
        )
        if not wrong and self.token and asked.headers.get("x-amz-security-token") != self.token:
            wrong = "ExpiredToken"
        if wrong:
            return error(wrong, 400 if wrong == "ExpiredToken" else 403)
        if self.gone:
            return error("NoSuchBucket", 404)
        said: Said = getattr(self, f"_{asked.operation}")(asked)
        return said

    # --- objects ---

    def _PutObject(self, asked: Asked) -> Said:
        if "if-none-match" in asked.headers and "once" in self.able and asked.key in self.objects:
            return error("PreconditionFailed", 412)
        return self._store(asked.key, bytes(asked.body), asked.headers)

    def _store(self, key: str, data: bytes, headers: dict[str, str]) -> Said:
        etag = f'"{md5(data, usedforsecurity=False).hexdigest()}"'
        kept = {
            name: text
            for name, text in headers.items()
            if name.startswith(
                ("x-amz-meta-", "x-amz-storage-class", "content-type", "content-disp")
            )
        }
        self.objects[key] = Stored(data, etag, self.now(), kept)
        return Said(200, b"", {"ETag": etag})

    def _HeadObject(self, asked: Asked) -> Said:
        if asked.key not in self.objects:
            return error("NoSuchKey", 404)
        stored = self.objects[asked.key]
        return Said(200, b"", {"Content-Length": str(len(stored.data)), **_told(stored)})

    def _GetObject(self, asked: Asked) -> Said:
        if asked.key not in self.objects:
            return error("NoSuchKey", 404)
        stored = self.objects[asked.key]
        if _is_away(stored):
            return error("InvalidObjectState", 403)
        if asked.headers.get("if-match", stored.etag) != stored.etag:
            return error("PreconditionFailed", 412)
        told = _told(stored)
        told.update(
            {
                name.removeprefix("response-"): text
                for name, text in asked.query.items()
                if name.startswith("response-")
            }
        )
        if "range" not in asked.headers:
            return Said(200, stored.data, told)
        first, last = map(int, asked.headers["range"].removeprefix("bytes=").split("-"))
        if first >= len(stored.data):
            return error("InvalidRange", 416)
        part = stored.data[first : last + 1]
        told["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(stored.data)}"
        return Said(206, part, told)

    def _DeleteObject(self, asked: Asked) -> Said:
        self.objects.pop(asked.key, None)
        return Said(204)

    def _CopyObject(self, asked: Asked) -> Said:
        source = self._source(asked)
        if isinstance(source, Said):
            return source
        etag = self._store(asked.key, source.data, asked.headers).headers["ETag"]
        return Said(
            200, f"<CopyObjectResult><ETag>{escape(etag)}</ETag></CopyObjectResult>".encode()
        )

    def _source(self, asked: Asked) -> Stored | Said:
        key = unquote(asked.headers["x-amz-copy-source"].removeprefix(f"/{BUCKET}/"))
        if key not in self.objects:
            return error("NoSuchKey", 404)
        source = self.objects[key]
        if _is_away(source):
            return error("InvalidObjectState", 403)
        if asked.headers["x-amz-copy-source-if-match"] != source.etag:
            return error("PreconditionFailed", 412)
        return source

    def _RestoreObject(self, asked: Asked) -> Said:
        self.objects[asked.key].headers["x-amz-restore"] = 'ongoing-request="true"'
        return Said(202)

    def _HeadBucket(self, asked: Asked) -> Said:
        return Said()

    # --- in parts ---

    def _CreateMultipartUpload(self, asked: Asked) -> Said:
        upload = f"upload-{next(self._numbers)}"
        self.uploads[upload] = (asked.key, asked.headers, {})
        told = {"x-amz-checksum-algorithm": "SHA256"} if "checksums" in self.able else {}
        body = f'<R xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><UploadId>{upload}</UploadId></R>'.encode()
        return Said(200, body, told)

    def _UploadPart(self, asked: Asked) -> Said:
        if asked.query["uploadId"] not in self.uploads:
            return error("NoSuchUpload", 404)
        data = bytes(asked.body)
        self.uploads[asked.query["uploadId"]][2][int(asked.query["partNumber"])] = data
        told = {"ETag": f'"{md5(data, usedforsecurity=False).hexdigest()}"'}
        if "checksums" in self.able:
            told["x-amz-checksum-sha256"] = asked.headers["x-amz-checksum-sha256"]
        return Said(200, b"", told)

    def _UploadPartCopy(self, asked: Asked) -> Said:
        source = self._source(asked)
        if isinstance(source, Said):
            return source
        first, last = map(
            int, asked.headers["x-amz-copy-source-range"].removeprefix("bytes=").split("-")
        )
        data = source.data[first : last + 1]
        self.uploads[asked.query["uploadId"]][2][int(asked.query["partNumber"])] = data
        etag = md5(data, usedforsecurity=False).hexdigest()
        return Said(
            200, f"<CopyPartResult><ETag>&quot;{etag}&quot;</ETag></CopyPartResult>".encode()
        )

    def _CompleteMultipartUpload(self, asked: Asked) -> Said:
        if asked.query["uploadId"] not in self.uploads:
            return error("NoSuchUpload", 404)
        key, headers, parts = self.uploads[asked.query["uploadId"]]
        if (
            "if-none-match" in asked.headers
            and "once_in_parts" in self.able
            and key in self.objects
        ):
            return error("PreconditionFailed", 412)
        named = ElementTree.fromstring(bytes(asked.body))
        numbers = [
            int(number.text or "")
            for number in named.iter("{http://s3.amazonaws.com/doc/2006-03-01/}PartNumber")
        ]
        del self.uploads[asked.query["uploadId"]]
        etag = self._store(key, b"".join(parts[number] for number in numbers), headers).headers[
            "ETag"
        ]
        return Said(
            200,
            f"<CompleteMultipartUploadResult><ETag>{escape(etag)}</ETag></CompleteMultipartUploadResult>".encode(),
        )

    def _AbortMultipartUpload(self, asked: Asked) -> Said:
        return (
            Said(204)
            if self.uploads.pop(asked.query["uploadId"], None)
            else error("NoSuchUpload", 404)
        )

    # --- listings ---

    def _ListObjectsV2(self, asked: Asked) -> Said:
        prefix, after = asked.query["prefix"], asked.query.get("continuation-token", "")
        keys = [key for key in self.objects if key.startswith(prefix) and key > after]
        keys.sort(key=str.encode)
        most = min(self.page, int(asked.query["max-keys"]))
        token = keys[most - 1] if most < len(keys) else ""
        found = map(self._entry, keys[:most])
        more = f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if token else ""
        head = f"<EncodingType>url</EncodingType><IsTruncated>{'true' if token else 'false'}</IsTruncated>{more}"
        return Said(200, f"<ListBucketResult>{head}{''.join(found)}</ListBucketResult>".encode())

    def _entry(self, key: str) -> str:
        stored = self.objects[key]
        told = f"<Size>{len(stored.data)}</Size><ETag>{escape(stored.etag)}</ETag>"
        told += (
            f"<StorageClass>{stored.headers.get('x-amz-storage-class', 'STANDARD')}</StorageClass>"
        )
        when = f"<LastModified>{stored.modified:%Y-%m-%dT%H:%M:%S}.987Z</LastModified>"
        return f"<Contents><Key>{quote_plus(key, safe='/')}</Key>{told}{when}</Contents>"


def _is_away(stored: Stored) -> bool:
    is_back = "false" in stored.headers.get("x-amz-restore", "")
    return stored.headers.get("x-amz-storage-class") in ("GLACIER", "DEEP_ARCHIVE") and not is_back


def _told(stored: Stored) -> dict[str, str]:
    return {
        "ETag": stored.etag,
        "Last-Modified": format_datetime(stored.modified.astimezone(UTC), usegmt=True),
        **stored.headers,
    }
