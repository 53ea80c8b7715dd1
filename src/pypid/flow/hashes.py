"""The hashes of the packaging APIs, computed while bytes pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b, md5, sha256
from typing import Protocol

from attrs import evolve

from pypid.core.model import Checksum, Digests


class _Hash(Protocol):
    """A hash that is being computed."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


_CHECKSUMS: dict[Checksum, Callable[[], _Hash]] = {
    Checksum.MD5: lambda: md5(usedforsecurity=False),
    Checksum.BLAKE2B_256: lambda: blake2b(digest_size=32),
}


class Checksums:
    """Some of the hashes other than SHA-256. Each takes longer than SHA-256, which processors have
    instructions for.
    """

    def __init__(self, *which: Checksum) -> None:
        self._hashes = {checksum: _CHECKSUMS[checksum]() for checksum in which}

    @property
    def which(self) -> frozenset[Checksum]:
        """The checksums that are computed."""
        return frozenset(self._hashes)

    def update(self, data: bytes) -> None:
        """Add more bytes."""
        for hash_ in self._hashes.values():
            hash_.update(data)

    def add_to(self, digests: Digests) -> Digests:
        """Return `digests` together with the checksums of all bytes so far."""
        texts = {checksum: hash_.hexdigest() for checksum, hash_ in self._hashes.items()}
        md5, blake2b_256 = (
            texts.get(Checksum.MD5, digests.md5),
            texts.get(Checksum.BLAKE2B_256, digests.blake2b_256),
        )
        return evolve(digests, md5=md5, blake2b_256=blake2b_256)


class Hashes:
    """The hashes of the packaging APIs, computed in one pass: SHA-256, and `also` these."""

    def __init__(self, also: Iterable[Checksum] = tuple(Checksum)) -> None:
        self._sha256 = sha256()
        self._also = Checksums(*also)
        self._size = 0

    def update(self, data: bytes) -> None:
        """Add more bytes."""
        self._sha256.update(data)
        self._also.update(data)
        self._size += len(data)

    def digests(self) -> Digests:
        """Return the hashes of all bytes so far."""
        return self._also.add_to(
            Digests(sha256=self._sha256.hexdigest(), md5=None, blake2b_256=None, size=self._size)
        )
