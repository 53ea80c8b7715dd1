"""Probing the abilities of the store, at the start, with a scratch object that is invisible to
clients.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from attrs import frozen
from twisted.internet.defer import DeferredList

from pypid.blobs.s3 import multipart
from pypid.blobs.s3.client import S3Client, S3Request
from pypid.blobs.s3.multipart import ALGORITHM, CHECKSUM, checksum
from pypid.blobs.s3.object_writer import ONLY_IF_ABSENT, Ability
from pypid.blobs.s3.payloads import BytesPayload, digest
from pypid.blobs.s3.refusals import S3Refusal
from pypid.flow import World, start
from pypid.http_client.faults import Fault

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
            upload = await multipart.create(
                self.asker, self.key, {**self.object_headers, ALGORITHM: "SHA256"}
            )
        except S3Refusal as problem:
            if not problem.is_unsupported:
                raise
            upload = await multipart.create(self.asker, self.key, self.object_headers)
        try:
            part = await multipart.send_part(self.asker, self.world.blocking, upload, 1, TEXT)
            await multipart.complete(
                self.asker, self.world.blocking, upload, (part,), ONLY_IF_ABSENT
            )
        except S3Refusal as problem:
            await multipart.abort(self.asker, upload)
            if problem.status in (304, 412) or problem.is_unsupported:
                return not problem.is_unsupported, upload.checked
            raise
        return False, upload.checked
