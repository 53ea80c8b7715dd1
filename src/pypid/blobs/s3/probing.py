"""What this store can do: asked of it once, at the start, with an object that nobody sees."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from pypid.blobs.s3 import multipart
from pypid.blobs.s3.asking import Asker, Question
from pypid.blobs.s3.multipart import ALGORITHM, CHECKSUM, checksum
from pypid.blobs.s3.payloads import Held, digest
from pypid.blobs.s3.refusals import Refusal
from pypid.blobs.s3.writing import ONLY_IF_ABSENT, Ability
from pypid.flow import World
from pypid.reaching.faults import Fault

TEXT = Held((b"pypid tries here what this store can do; this may be deleted.\n",))


async def probe(asker: Asker, key: str, wishes: Mapping[str, str], world: World) -> Ability:
    """Try it with the key (the whole one, in the bucket), which nobody else uses. Raises `Refusal` and `Fault`."""
    probing = _Probing(asker, key, wishes, world)
    gone = Question("DeleteObject", "DELETE", key)
    try:
        once, checksums = await probing.whole()
        once_in_parts, checksums_of_parts = await probing.in_parts()
    except (Refusal, Fault):
        with suppress(Refusal, Fault):
            await asker.tell(gone)
        raise
    await asker.tell(gone)  # and so it is known whether we may delete
    return Ability(once, once_in_parts, checksums, checksums_of_parts)


class _Probing:
    def __init__(self, asker: Asker, key: str, wishes: Mapping[str, str], world: World) -> None:
        self._asker = asker
        self._key = key
        self._wishes = wishes
        self._world = world

    async def whole(self) -> tuple[bool, bool]:
        """Whether an object can be written only if there is none, and with a checksum."""
        once = checksums = True
        if not await self._put(once, checksums):
            if await self._put(once, False):
                checksums = False
            else:
                once, checksums = False, await self._put(False, True)
                if not checksums:
                    await self._must(self._question(once, checksums, await self._hash()))
        return once and await self._is_taken(checksums), checksums

    async def _put(self, once: bool, checksums: bool) -> bool:
        """Whether the store understands such a write."""
        try:
            await self._must(self._question(once, checksums, await self._hash()))
        except Refusal as problem:
            if problem.is_unknown_wish:
                return False
            if problem.status not in (304, 412):  # it is there already: an earlier try, whose answer got lost
                raise
        return True

    async def _is_taken(self, checksums: bool) -> bool:
        """Whether a second one is refused."""
        try:
            await self._must(self._question(True, checksums, await self._hash()))
        except Refusal as problem:
            if problem.status in (304, 412):
                return True
            if problem.is_unknown_wish:
                return False
            raise
        return False

    async def in_parts(self) -> tuple[bool, bool]:
        """The same of what is sent in parts. The object is there by now."""
        try:
            upload = await multipart.create(self._asker, self._key, {**self._wishes, ALGORITHM: "SHA256"})
        except Refusal as problem:
            if not problem.is_unknown_wish:
                raise
            upload = await multipart.create(self._asker, self._key, self._wishes)
        try:
            part = await multipart.send_part(self._asker, self._world.blocking, upload, 1, TEXT)
            await multipart.complete(self._asker, self._world.blocking, upload, (part,), ONLY_IF_ABSENT)
        except Refusal as problem:
            await multipart.abort(self._asker, upload)
            if problem.status in (304, 412) or problem.is_unknown_wish:
                return problem.status in (304, 412), upload.checked
            raise
        return False, upload.checked

    def _question(self, once: bool, checksums: bool, hashed: bytes) -> Question:
        headers = dict(self._wishes)
        if checksums:
            headers[CHECKSUM] = checksum(hashed)
        if once:
            headers.update(ONLY_IF_ABSENT)
        return Question("PutObject", "PUT", self._key, (), headers, TEXT, hashed)

    async def _hash(self) -> bytes:
        return await digest(TEXT, self._world.blocking)

    async def _must(self, question: Question) -> None:
        await self._asker.tell(question)
