"""Blobs in a bucket of S3, or of a compatible store. The object's key is the blob's key after a
prefix.

No state that matters is held here: the bucket's contents are read from it. See the package for its
modules.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut

from pypid.blobs.keys import must_be_key, segments
from pypid.blobs.s3 import addresses, credentials
from pypid.blobs.s3.capabilities import probe
from pypid.blobs.s3.classes import Classes
from pypid.blobs.s3.client import S3Client, S3Request
from pypid.blobs.s3.credentials import Credentials
from pypid.blobs.s3.listing import SCRATCH, Lister
from pypid.blobs.s3.object_head import ObjectHead, look, must_be_there
from pypid.blobs.s3.object_reader import read
from pypid.blobs.s3.object_writer import Ability, Writer
from pypid.blobs.s3.parallel_listing import listed
from pypid.blobs.s3.refusals import S3Refusal
from pypid.blobs.s3.response_headers import content_type, disposition, file_name
from pypid.blobs.s3.signatures import CloudFront, cloudfront, presigned
from pypid.core.configuration.choices import Addressing, Encryption
from pypid.core.errors import CannotStart, Missing, PypidError, StorageDown, StorageFull
from pypid.core.model import Blob, SignedUrl, Span
from pypid.core.tiering_rules import ARCHIVES
from pypid.flow import BytesBody, World, shielded, start
from pypid.http_client.connections import HttpConnections, connections
from pypid.http_client.faults import Fault
from pypid.http_client.trust import Trust, certificates
from pypid.ports import Blobs, Body, Describing, Duplicating

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
_NONE = Ability(
    once=False, once_in_parts=False, exact=False, checksums=False, checksums_of_parts=False
)
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
        self._asker = asker
        self._prefix = prefix
        self._writer = writer
        self._world = world
        self._reached = reached
        self._front = front
        self._lister = Lister(asker, prefix, world)

    @property
    def exclusive(self) -> bool:
        """Whether exactly one of several writers of a key wins, wherever they are; else only if
        they are in this process.
        """
        return self._writer.ability.exclusive

    @property
    def exclusive_puts(self) -> bool:
        """Whether exactly one of several writers of a small object wins, wherever they are."""
        return self._writer.ability.exclusive_puts

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
        try:
            await self._asker.tell(question)
        except S3Refusal as problem:
            if problem.status != 404 or problem.code == "NoSuchBucket":
                raise self._asker.failed(problem, question) from problem
        except Fault as problem:
            raise self._asker.failed(problem, question) from problem

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
        at = now + self._asker.there()
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


async def open(
    settings: S3Settings, world: World, reactor: Any, *, reads_only: bool = False
) -> S3Blobs:
    """Return the store in the bucket, after checking access and probing its abilities; `reactor` is
    the network. With `reads_only` nothing is checked, since that needs further permissions.

    Raises `CannotStart`, which says what is missing: a bucket, a permission, credentials, a
    response.
    """
    object_headers = settings.object_headers()
    if segments(settings.prefix + "x") is None:
        raise CannotStart(
            f"[storage] prefix: {settings.prefix!r} cannot be what keys begin with (no '/' before "
            "it, no '//')."
        )
    own_credentials = _credentials(settings, world)
    address, trust, front = await world.blocking(_prepared, settings)
    reached = connections(
        reactor, trust, min(CONNECTING, settings.timeout), idle=IDLE, idle_time=IDLE_TIME
    )
    asker = S3Client(reached.agent, address, own_credentials, world, settings.timeout)
    where = f"The bucket {settings.bucket!r} at {urlsplit(address.base).netloc}"
    try:
        ability = _NONE
        if not reads_only:
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
    """Raise `CannotStart` for settings that no retry can correct: headers, names, and required
    files. Blocks.
    """
    settings.object_headers()
    addresses.check(settings.bucket, settings.region)
    _trust(settings.ca_certificates)
    _front(settings)


def _credentials(settings: S3Settings, world: World) -> Credentials:
    try:
        return credentials.of(
            settings.access_key, settings.secret_key, settings.session_token, world
        )
    except ValueError as error:
        raise CannotStart(f"[storage] {error}.") from None


def _prepared(settings: S3Settings) -> tuple[addresses.Address, Trust, CloudFront | None]:
    """Return the address, the trust and the CloudFront signer. Blocks."""
    address = addresses.resolve(
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


_: type[Blobs] = S3Blobs
_also: type[Describing] = S3Blobs
_duplicating: type[Duplicating] = S3Blobs
