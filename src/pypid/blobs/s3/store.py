"""Blobs in a bucket of S3, or of a compatible store. The object's key is the blob's key after a
prefix.

No state that matters is held here: the bucket's contents are read from it. See the package for its
modules.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import evolve, field, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.python.failure import Failure

from pypid.blobs.keys import must_be_key, segments
from pypid.blobs.s3 import client, objects, signatures
from pypid.blobs.s3.client import (
    CLASS,
    META,
    BytesPayload,
    ObjectHead,
    S3Client,
    S3Request,
    absent,
    digest,
    look,
    must_be_there,
    plain_etag,
)
from pypid.blobs.s3.listing import SCRATCH, Lister, listed
from pypid.blobs.s3.objects import (
    ALGORITHM,
    CHECKSUM,
    ONLY_IF_ABSENT,
    Ability,
    MultipartUpload,
    UploadPart,
    Writer,
    checksum,
    read,
)
from pypid.blobs.s3.refusals import S3Refusal, fields, parsed, texts
from pypid.blobs.s3.signatures import (
    CloudFront,
    cloudfront,
    content_type,
    disposition,
    file_name,
    presigned,
    quoted,
)
from pypid.core.configuration.choices import Addressing, Encryption
from pypid.core.errors import (
    Archived,
    BadRequest,
    CannotStart,
    Missing,
    PypidError,
    StorageDown,
    StorageFull,
)
from pypid.core.model import ArchiveState, Blob, SignedUrl, Span
from pypid.core.tiering_rules import ARCHIVES, STANDARD
from pypid.flow import Blocking, BytesBody, World, shielded, start
from pypid.http_client.connections import Fault, HttpConnections, Trust, certificates, connections
from pypid.ports import Body

# Probing the abilities of the store, at the start, with a scratch object that is invisible to
# clients.

TEXT = BytesPayload((b"pypid tries here what this store can do; this may be deleted.\n",))
RACERS = 4
"""Concurrent writers, of which exactly one must win."""
OPENSTACK = "x-openstack-request-id"
"""Swift sends this header. It may report success to several concurrent writers, which a probe would
only find by luck.
"""


async def probe(
    asker: S3Client, key: str, object_headers: Mapping[str, str], world: World
) -> Ability:
    """Probe the store with the full key, which no other process uses. Raises `S3Refusal` and
    `Fault`.
    """
    probing = _Probing(asker, key, object_headers, world)
    gone = S3Request("DeleteObject", "DELETE", key)
    try:
        once, checksums = await probing.whole()
        once_in_parts, checksums_of_parts = await probing.in_parts()
        deleted = await asker.tell(gone)  # also proves the permission to delete
        exact = once and OPENSTACK not in deleted.headers and await probing.races(checksums, gone)
    except (S3Refusal, Fault):
        with suppress(S3Refusal, Fault):
            await asker.tell(gone)
        raise
    await asker.tell(gone)
    return Ability(once, once_in_parts, exact, checksums, checksums_of_parts)


@frozen
class _Probing:
    asker: S3Client
    key: str
    object_headers: Mapping[str, str]
    world: World

    async def whole(self) -> tuple[bool, bool]:
        """Return whether an object can be written only if absent, and with a checksum."""
        for once, checksums in ((True, True), (True, False), (False, True)):
            try:
                await self._put(once, checksums)
            except S3Refusal as problem:
                if not problem.is_unsupported:
                    raise
            else:
                return once and not await self._wins(checksums), checksums
        await self._put(False, False)
        return False, False

    async def races(self, checksums: bool, gone: S3Request) -> bool:
        """Return whether at most one of several concurrent writers wins; tried twice, since the
        first time connecting delays them.
        """
        first = await self._race(checksums)
        await self.asker.tell(gone)
        return first and await self._race(checksums)

    async def _race(self, checksums: bool) -> bool:
        racers = [start(self._wins(checksums)) for _ in range(RACERS)]
        results = await DeferredList(racers, consumeErrors=True)
        return sum(1 for succeeded, won in results if succeeded and won) <= 1

    async def _wins(self, checksums: bool) -> bool:
        """Return whether the store reports success to a write-if-absent."""
        try:
            await self._put(True, checksums)
        except S3Refusal as problem:
            if problem.status in (304, 409, 412):
                return False
            raise
        return True

    async def _put(self, once: bool, checksums: bool) -> None:
        hashed = await digest(TEXT, self.world.blocking)
        headers = dict(self.object_headers)
        if checksums:
            headers[CHECKSUM] = checksum(hashed)
        if once:
            headers.update(ONLY_IF_ABSENT)
        await self.asker.tell(S3Request("PutObject", "PUT", self.key, (), headers, TEXT, hashed))

    async def in_parts(self) -> tuple[bool, bool]:
        """Return what `whole` does, for multipart uploads. The object exists already."""
        try:
            upload = await objects.create(
                self.asker, self.key, {**self.object_headers, ALGORITHM: "SHA256"}
            )
        except S3Refusal as problem:
            if not problem.is_unsupported:
                raise
            upload = await objects.create(self.asker, self.key, self.object_headers)
        try:
            part = await objects.send_part(self.asker, self.world.blocking, upload, 1, TEXT)
            await objects.complete(self.asker, self.world.blocking, upload, (part,), ONLY_IF_ABSENT)
        except S3Refusal as problem:
            await objects.abort(self.asker, upload)
            if problem.status in (304, 412) or problem.is_unsupported:
                return not problem.is_unsupported, upload.checked
            raise
        return False, upload.checked


# Storage classes: reading and changing an object's class, and restoring it from an archive.

LARGEST_COPY = 5 << 30
"""Maximum size in bytes of a copy in one request (S3: CopyObject); larger objects are copied in
parts.
"""
COPY_PART = 512 << 20
AT_ONCE = 4
"""Parts copied at the same time."""
COPYING = 20.0
"""Factor of the usual time-out for a copy: nothing is transferred here, and there is no response
until it is done.
"""
RESTORED_DAYS = 7
"""How long a restored copy stays."""
INTELLIGENT_TIERING = "INTELLIGENT_TIERING"
"""A class that may archive objects by itself, and restores them permanently."""
_COPIED_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
)
_NOTHING_TO_RESTORE = ("RestoreAlreadyInProgress", "InvalidObjectState")
_UNKNOWN_CLASS = ("InvalidStorageClass", "InvalidArgument", "NotImplemented")


@frozen
class Classes:
    """The storage classes of the objects below `prefix` in the bucket of that name."""

    asker: S3Client
    bucket: str
    prefix: str
    blocking: Blocking

    async def archive_state(self, key: str) -> ArchiveState:
        """Return the object's storage class and state. See `ports.Bucket`, as for all methods
        here.
        """
        head = await self._head(key)
        storage_class = head.get(CLASS, STANDARD)
        is_archived = storage_class in ARCHIVES or "x-amz-archive-status" in head
        is_back = 'ongoing-request="false"' in head.get("x-amz-restore", "")
        return ArchiveState(
            storage_class=storage_class,
            size=int(head.get("content-length", "0")),
            readable=is_back or not is_archived,
        )

    async def move(self, key: str, storage_class: str) -> None:
        """Change the object's storage class by copying it onto itself."""
        await self._copy(key, key, storage_class)

    async def copy(self, key: str, target: str) -> None:
        """Copy the object inside the bucket, with its class unless that is an archive's."""
        await self._copy(key, target, None)

    async def is_versioned(self) -> bool | None:
        """Return whether the bucket keeps former versions; None if the store does not say."""
        question = S3Request("GetBucketVersioning", "GET", query=(("versioning", ""),))
        try:
            root = parsed((await self.asker.tell(question)).data)
        except (S3Refusal, Fault):
            return None
        return None if root is None else "Status" in texts(root)

    async def _copy(self, key: str, target: str, storage_class: str | None) -> None:
        head = await self._head(key)
        source, wanted = self._copy_headers(key, head, storage_class)
        size = int(head.get("content-length", "0"))
        headers = {**source, **wanted, "x-amz-metadata-directive": "REPLACE"}
        question = S3Request(
            "CopyObject", "PUT", self.prefix + target, (), headers, patience=COPYING
        )
        try:
            if size > LARGEST_COPY:
                await self._copy_in_parts(self.prefix + target, size, source, wanted)
            else:
                await self.asker.tell(question)
        except S3Refusal as problem:
            if (
                problem.doubtful
                and problem.status == 412
                and key == target
                and (await self.archive_state(key)).storage_class == storage_class
            ):
                return  # an earlier try did it, and its response was lost
            if problem.status in (400, 501) and problem.code in _UNKNOWN_CLASS:
                raise BadRequest(
                    f"The storage refuses the storage class {storage_class} ({problem.code})."
                ) from None
            raise await self._failed(problem, question, key) from problem
        except Fault as problem:
            raise await self._failed(problem, question, key) from problem

    def _copy_headers(
        self, key: str, head: Mapping[str, str], storage_class: str | None
    ) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Return the headers that name the source, and those that the copy is written with."""
        kept = {
            name: text
            for name, text in head.items()
            if name in _COPIED_HEADERS or name.startswith(META)
        }
        if storage_class is None and head.get(CLASS) not in ARCHIVES:
            storage_class = head.get(CLASS)
        if storage_class is not None:
            kept[CLASS] = storage_class
        source = {
            "x-amz-copy-source": f"/{self.bucket}/{quoted(self.prefix + key)}",
            "x-amz-copy-source-if-match": f'"{plain_etag(head.get("etag", ""))}"',
        }
        return source, kept

    async def restore(self, key: str) -> None:
        """Request a restore, unless one was requested already."""
        head = await self._head(key)
        if "x-amz-restore" in head:
            return
        days = "" if head.get(CLASS) == INTELLIGENT_TIERING else f"<Days>{RESTORED_DAYS}</Days>"
        tier = "<GlacierJobParameters><Tier>Standard</Tier></GlacierJobParameters>"
        text = f'<RestoreRequest xmlns="{objects.NAMESPACE}">{days}{tier}</RestoreRequest>'
        body = BytesPayload((text.encode(),))
        hashed = await digest(body, self.blocking)
        headers = {"Content-Type": "application/xml"}
        question = S3Request(
            "RestoreObject", "POST", self.prefix + key, (("restore", ""),), headers, body, hashed
        )
        try:
            await self.asker.tell(question)
        except (S3Refusal, Fault) as problem:
            if not isinstance(problem, S3Refusal) or problem.code not in _NOTHING_TO_RESTORE:
                raise await self._failed(problem, question, key) from problem

    def below(self, prefix: str) -> Classes:
        """Return the classes of the objects below `prefix`, as all keys there."""
        return evolve(self, prefix=self.prefix + prefix)

    # --- requests ---

    async def _head(self, key: str) -> Mapping[str, str]:
        question = S3Request("HeadObject", "HEAD", self.prefix + key)
        try:
            return (await self.asker.tell(question)).headers
        except (S3Refusal, Fault) as problem:
            raise await absent(self.asker, problem, question, key) from problem

    async def _failed(self, problem: S3Refusal | Fault, question: S3Request, key: str) -> Exception:
        """Return the error to raise; an archived object is not logged."""
        if isinstance(problem, S3Refusal) and problem.code in (
            "InvalidObjectState",
            "ObjectNotInActiveTierError",
        ):
            return Archived()
        if isinstance(problem, S3Refusal) and problem.status == 412:
            return StorageDown("other bytes replaced these meanwhile.")
        return await absent(self.asker, problem, question, key)

    # --- large objects ---

    async def _copy_in_parts(
        self, key: str, size: int, source: Mapping[str, str], wanted: Mapping[str, str]
    ) -> None:
        upload = await objects.create(self.asker, key, wanted)
        spans = [(first, min(first + COPY_PART, size) - 1) for first in range(0, size, COPY_PART)]
        copied: list[UploadPart] = []
        try:
            for begin in range(0, len(spans), AT_ONCE):
                together: list[Deferred[UploadPart | Failure]] = [
                    start(self._copy_part(upload, number, source, *span))
                    for number, span in enumerate(spans[begin : begin + AT_ONCE], begin + 1)
                ]
                copied += _all(await DeferredList(together, consumeErrors=True))
            await objects.complete(self.asker, self.blocking, upload, copied, {})
        except BaseException:
            await objects.abort(self.asker, upload)
            raise

    async def _copy_part(
        self, upload: MultipartUpload, number: int, source: Mapping[str, str], first: int, last: int
    ) -> UploadPart:
        query = (("partNumber", str(number)), ("uploadId", upload.upload_id))
        headers = {**source, "x-amz-copy-source-range": f"bytes={first}-{last}"}
        result = await self.asker.tell(
            S3Request("UploadPartCopy", "PUT", upload.key, query, headers, patience=COPYING)
        )
        found = fields(result.data)
        if not found.get("ETag"):
            raise Fault("it copied a part and gives no ETag for it.")
        etag, size = plain_etag(found["ETag"]), last + 1 - first
        return UploadPart(number, etag, found.get("ChecksumSHA256", ""), size)


def _all(results: Sequence[tuple[bool, UploadPart | Failure]]) -> list[UploadPart]:
    """Return the parts, once all have ended; raise the first failure."""
    for _, result in results:
        if isinstance(result, Failure):
            result.raiseException()
    return [result for _, result in results if isinstance(result, UploadPart)]


CONNECTING = 10.0
"""Maximum seconds to make a connection."""
IDLE, IDLE_TIME = 24, 15
"""Number of idle connections, and the seconds for which they are kept: S3 closes them a little
later.
"""
CLOSING = 10.0
"""Seconds for aborting uploads that failed at shutdown; a rule of the bucket removes the rest."""
LONGEST_KEY = 1024
"""Bytes of UTF-8 (S3, "Object key naming guidelines")."""
LONGEST_LINK = timedelta(days=7)
"""The maximum of SigV4."""
KEPT_BY_CLIENTS = f"private, max-age={int(LONGEST_LINK.total_seconds())}, immutable"
"""The bytes under a key are never replaced; without this header pip revalidates before it uses its
cache.
"""


@frozen(kw_only=True)
class S3Settings:
    """Settings of the bucket. `timeout`: seconds that the store may be silent. `ca_certificates`: a
    PEM file, trusted in addition to the system's. `cloudfront_*`: all three, for signed URLs of a
    CloudFront distribution instead of S3's.
    """

    bucket: str
    prefix: str = ""
    region: str = "us-east-1"
    endpoint_url: str | None = field(default=None, repr=False)
    addressing: Addressing = Addressing.AUTO
    ca_certificates: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    encryption: Encryption | None = None
    kms_key_id: str | None = None
    storage_class: str | None = None
    cloudfront_domain: str | None = None
    cloudfront_key_id: str | None = None
    cloudfront_key_file: str | None = None
    timeout: float = 30.0
    page_type: Callable[[str], str | None] = field(default=lambda key: None, repr=False)
    """The Content-Type of keys that are pages for browsers and installers; None for files."""
    is_document: Callable[[str], bool] = field(default=lambda key: False, repr=False)
    """Whether the key is that of a document: the date of its `Blob` need not be exact when it is
    written, which saves a request.
    """

    def object_headers(self) -> Mapping[str, str]:
        """Return the headers that every object is written with. Raises `CannotStart`
        if the settings are invalid.
        """
        if self.kms_key_id and self.encryption is not Encryption.KMS:
            raise CannotStart("[storage] kms_key_id needs server_side_encryption = aws:kms.")
        if self.storage_class in ARCHIVES:
            raise CannotStart(
                f"[storage] storage_class: objects in {self.storage_class} cannot be read at once."
            )
        headers = {
            "x-amz-server-side-encryption": self.encryption.value if self.encryption else None,
            "x-amz-server-side-encryption-aws-kms-key-id": self.kms_key_id,
            "x-amz-storage-class": self.storage_class,
        }
        return {name: value for name, value in headers.items() if value}


class S3Blobs:
    """A `Blobs` in a bucket. Made by `open`."""

    def __init__(
        self,
        asker: S3Client,
        classes: Classes,
        prefix: str,
        writer: Writer,
        world: World,
        reached: HttpConnections,
        front: CloudFront | None,
    ) -> None:
        self.classes = classes
        self.ability = writer.ability
        self._asker = asker
        self._prefix = prefix
        self._writer = writer
        self._world = world
        self._reached = reached
        self._front = front
        self._lister = Lister(asker, prefix, world)

    async def read(self, key: str, span: Span | None = None) -> Body:
        if span is not None and not 0 <= span.start <= span.stop:
            raise ValueError(f"{span} is not a span")
        self._must_be_possible(key)
        return await read(self._asker, self._prefix, key, span)

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        async with aclosing(body):
            must_be_key(key)
            if not self._is_possible(key):
                raise ValueError(
                    f"{key[:80]!r} is longer than S3's keys can be, or where pypid tries what the "
                    "store can do"
                )
            return await self._writer.write(key, body, replace=replace)

    async def duplicate(
        self,
        source: str,
        target: str,
        *,
        replace: bool = False,
        tell: Callable[[int], object] | None = None,
    ) -> Blob:
        """Copy the object inside the bucket, whatever its size. Few stores copy only if absent, so
        an empty object takes the key first; a failed copy removes it.
        """
        self._must_be_possible(source)
        must_be_key(target)
        if not replace:
            await self.stat(source)  # first: a missing source takes no key
            await self.write(target, BytesBody(b""))
        try:
            await self.classes.copy(source, target)
        except (PypidError, CancelledError):
            if not replace:
                await shielded(self.delete(target))
            raise
        return await self.stat(target)

    async def delete(self, key: str) -> None:
        if not self._is_possible(key):
            return
        question = S3Request("DeleteObject", "DELETE", self._prefix + key)
        with self._asker.failing(question):
            try:
                await self._asker.tell(question)
            except S3Refusal as problem:
                if problem.status != 404 or problem.code == "NoSuchBucket":
                    raise

    async def stat(self, key: str) -> Blob:
        return (await self._seen(key)).blob

    async def description(self, key: str) -> Mapping[str, str]:
        return (await self._seen(key)).metadata

    async def _seen(self, key: str) -> ObjectHead:
        self._must_be_possible(key)
        found = await look(self._asker, self._prefix, key)
        if found is None:
            raise Missing(key)
        return found

    async def list(self, prefix: str = "") -> AsyncGenerator[Blob]:
        if "\0" in prefix or not _is_text(prefix):
            return
        async with aclosing(listed(self._lister, prefix)) as found:
            async for blob in found:
                yield blob

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        """Return a URL with which any client can GET the object. It expires early if the keys that
        signed it do.

        It is saved as `filename`, by default under the name in the key.

        The object's existence is not checked. Raises `Missing` for an invalid key.
        """
        self._must_be_possible(key)
        now = self._world.now().replace(microsecond=0)
        if self._front is not None:
            expires = now + lifetime
            return SignedUrl(
                self._front.link(self._prefix + key, expires), expires, self._front.key_name
            )
        keys = await self._asker.credentials.current()
        lasting = min(
            lifetime, LONGEST_LINK, lifetime if keys.expires is None else keys.expires - now
        )
        seconds = max(1, int(lasting.total_seconds()))
        query = (
            ("response-cache-control", KEPT_BY_CLIENTS),
            ("response-content-disposition", disposition(filename or file_name(key))),
            ("response-content-type", content_type(key)),
        )
        url = self._asker.address.url(self._prefix + key, query)
        at = now + self._asker.ahead
        signed = presigned(keys, self._asker.address.region, at, url, seconds)
        return SignedUrl(signed, now + timedelta(seconds=seconds), keys.signer)

    @property
    def signer(self) -> str | None:
        """The signer of current URLs (`SignedUrl.signer`); None while no keys are known."""
        if self._front is not None:
            return self._front.key_name
        keys = self._asker.credentials.known
        return None if keys is None else keys.signer

    # --- in addition to `Blobs` ---

    async def answers(self) -> None:
        """Return if the bucket exists and is accessible. One request. Raises `StorageDown`."""
        await must_be_there(self._asker)

    async def close(self) -> None:
        """Close idle connections, at shutdown."""
        settled = start(self._writer.settled())
        settled.addTimeout(CLOSING, self._world.clock)
        with suppress(TimedOut):
            await settled
        closed: Deferred[Any] = self._reached.close()
        await closed

    def _is_possible(self, key: str) -> bool:
        return (
            segments(key) is not None
            and not key.startswith(SCRATCH)
            and len((self._prefix + key).encode()) <= LONGEST_KEY
        )

    def _must_be_possible(self, key: str) -> None:
        if not self._is_possible(key):
            raise Missing(key)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


async def open(settings: S3Settings, world: World, reactor: Any) -> S3Blobs:
    """Return the store in the bucket, after checking access and probing its abilities; `reactor` is
    the network.

    Raises `CannotStart`, which says what is missing: a bucket, a permission, credentials, a
    response.
    """
    object_headers = settings.object_headers()
    if segments(settings.prefix + "x") is None:
        raise CannotStart(
            f"[storage] prefix: {settings.prefix!r} cannot be what keys begin with (no '/' before "
            "it, no '//')."
        )
    own_credentials = client.credentials(
        settings.access_key, settings.secret_key, settings.session_token, world
    )
    address, trust, front = await world.blocking(_prepared, settings)
    reached = connections(
        reactor, trust, min(CONNECTING, settings.timeout), idle=IDLE, idle_time=IDLE_TIME
    )
    asker = S3Client(reached, address, own_credentials, world, settings.timeout)
    where = f"The bucket {settings.bucket!r} at {urlsplit(address.base).netloc}"
    try:
        await Lister(asker, settings.prefix, world).page("", most=1)
        scratch = f"{settings.prefix}{SCRATCH}{world.random(16).hex()}"
        ability = await probe(asker, scratch, object_headers, world)
    except (S3Refusal, Fault, StorageDown, StorageFull) as problem:
        await reached.close()
        raise CannotStart(f"{where} cannot be used: {problem.__cause__ or problem}") from problem
    except BaseException:
        await reached.close()
        raise
    classes = Classes(asker, settings.bucket, settings.prefix, world.blocking)
    writer = Writer(
        asker,
        settings.prefix,
        object_headers,
        ability,
        world,
        settings.page_type,
        settings.is_document,
    )
    return S3Blobs(asker, classes, settings.prefix, writer, world, reached, front)


def check(settings: S3Settings) -> None:
    """Raise `CannotStart` for settings that no retry can correct: headers, files. Blocks."""
    settings.object_headers()
    _trust(settings.ca_certificates)
    _front(settings)


def _prepared(settings: S3Settings) -> tuple[signatures.Address, Trust, CloudFront | None]:
    """Return the address, the trust and the CloudFront signer. Blocks."""
    address = signatures.resolve(
        settings.bucket, settings.region, settings.endpoint_url, settings.addressing
    )
    return address, _trust(settings.ca_certificates), _front(settings)


def _trust(file: str | None) -> Trust:
    if file is None:
        return Trust()
    setting = f"[storage] ca_certificates ({file})"
    try:
        return Trust(certificates(Path(file).read_bytes(), setting))
    except OSError as error:
        raise CannotStart(f"{setting} cannot be read: {error.strerror}.") from None


def _front(settings: S3Settings) -> CloudFront | None:
    domain, key_id, key_file = (
        settings.cloudfront_domain,
        settings.cloudfront_key_id,
        settings.cloudfront_key_file,
    )
    if not (domain or key_id or key_file):
        return None
    if not (domain and key_id and key_file):
        raise CannotStart(
            "[storage] cloudfront_domain, cloudfront_key_id and cloudfront_key_file belong "
            "together."
        )
    return cloudfront(domain, key_id, key_file)
