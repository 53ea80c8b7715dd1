"""What this store can do: asked of it once, at the start, with an object that nobody sees."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from attrs import frozen
from twisted.internet.defer import DeferredList

from pypid.blobs.s3 import multipart
from pypid.blobs.s3.asking import S3Client, S3Request
from pypid.blobs.s3.multipart import ALGORITHM, CHECKSUM, checksum
from pypid.blobs.s3.payloads import BytesPayload, digest
from pypid.blobs.s3.refusals import S3Refusal
from pypid.blobs.s3.writing import ONLY_IF_ABSENT, Ability
from pypid.flow import World, start
from pypid.http_client.faults import Fault

TEXT = BytesPayload((b"pypid tries here what this store can do; this may be deleted.\n",))
RACERS = 4
"""Writers at the same moment, of whom one must win."""
OPENSTACK = "x-openstack-request-id"
"""Swift says so; and that several who write at once may all be told that they won, we know, and
need no luck to find out.
"""


async def probe(asker: S3Client, key: str, wishes: Mapping[str, str], world: World) -> Ability:
    """Try it with the key (the whole one, in the bucket), which nobody else uses. Raises
    `S3Refusal` and `Fault`.
    """
    probing = _Probing(asker, key, wishes, world)
    gone = S3Request("DeleteObject", "DELETE", key)
    try:
        once, checksums = await probing.whole()
        once_in_parts, checksums_of_parts = await probing.in_parts()
        deleted = await asker.tell(gone)  # and so it is known whether we may delete
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
    wishes: Mapping[str, str]
    world: World

    async def whole(self) -> tuple[bool, bool]:
        """Whether an object can be written only if there is none, and with a checksum."""
        for once, checksums in ((True, True), (True, False), (False, True)):
            try:
                await self._put(once, checksums)
            except S3Refusal as problem:
                if not problem.is_unknown_wish:
                    raise
            else:
                return once and not await self._wins(checksums), checksums
        await self._put(False, False)
        return False, False

    async def races(self, checksums: bool, gone: S3Request) -> bool:
        """Whether at most one of several at once wins; twice, since the first time they are held up
        by connecting.
        """
        first = await self._race(checksums)
        await self.asker.tell(gone)
        return first and await self._race(checksums)

    async def _race(self, checksums: bool) -> bool:
        racers = [start(self._wins(checksums)) for _ in range(RACERS)]
        results = await DeferredList(racers, consumeErrors=True)
        return sum(1 for succeeded, won in results if succeeded and won) <= 1

    async def _wins(self, checksums: bool) -> bool:
        """Whether a write that is to be the first is told that it was."""
        try:
            await self._put(True, checksums)
        except S3Refusal as problem:
            if problem.status in (304, 409, 412):
                return False
            raise
        return True

    async def _put(self, once: bool, checksums: bool) -> None:
        hashed = await digest(TEXT, self.world.blocking)
        headers = dict(self.wishes)
        if checksums:
            headers[CHECKSUM] = checksum(hashed)
        if once:
            headers.update(ONLY_IF_ABSENT)
        await self.asker.tell(S3Request("PutObject", "PUT", self.key, (), headers, TEXT, hashed))

    async def in_parts(self) -> tuple[bool, bool]:
        """The same of what is sent in parts. The object is there by now."""
        try:
            upload = await multipart.create(
                self.asker, self.key, {**self.wishes, ALGORITHM: "SHA256"}
            )
        except S3Refusal as problem:
            if not problem.is_unknown_wish:
                raise
            upload = await multipart.create(self.asker, self.key, self.wishes)
        try:
            part = await multipart.send_part(self.asker, self.world.blocking, upload, 1, TEXT)
            await multipart.complete(
                self.asker, self.world.blocking, upload, (part,), ONLY_IF_ABSENT
            )
        except S3Refusal as problem:
            await multipart.abort(self.asker, upload)
            if problem.status in (304, 412) or problem.is_unknown_wish:
                return not problem.is_unknown_wish, upload.checked
            raise
        return False, upload.checked
