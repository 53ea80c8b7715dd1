"""Comparing bytes with the hashes that upstream listed."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from attrs import frozen

from pypid.core.model import Digests, File, StoredFile

BLAKE2B_256 = "blake2b_256"
"""BLAKE2b with 32 bytes, for which hashlib has no name."""
_ENDLESS = ("shake_128", "shake_256")


@frozen
class ExpectedDigest:
    """The strongest hash that upstream gave: hashlib's name of it (or `BLAKE2B_256`), and
    lower-case hex.
    """

    algorithm: str
    hexdigest: str


def claim_of(file: File) -> ExpectedDigest | None:
    """Return the expected hash of the file's bytes; None if upstream gave none that can be computed
    here.
    """
    if file.sha256 is not None:
        return ExpectedDigest("sha256", file.sha256)
    algorithm, _, hexdigest = (file.digest or "").partition("=")
    if hexdigest and algorithm in hashlib.algorithms_guaranteed and algorithm not in _ENDLESS:
        return ExpectedDigest(algorithm, hexdigest)
    if file.blake2b_256 is not None:
        return ExpectedDigest(BLAKE2B_256, file.blake2b_256)
    return None if file.md5 is None else ExpectedDigest("md5", file.md5)


def computed(digests: Digests, algorithm: str) -> str | None:
    """Return the hash of this name, if it is among those computed for every body."""
    known = {"sha256": digests.sha256, "md5": digests.md5, BLAKE2B_256: digests.blake2b_256}
    return known.get(algorithm)


def is_copy(kept: StoredFile, file: File) -> bool:
    """Return whether the cached file has the bytes that `file` is listed with."""
    claim = claim_of(file)
    if file.size not in (None, kept.size):
        return False
    if claim is None:
        return True
    known = Digests(
        sha256=kept.sha256, md5=kept.md5 or "", blake2b_256=kept.blake2b_256 or "", size=0
    )
    ours = computed(known, claim.algorithm)
    return kept.digest == file.digest if ours is None else ours == claim.hexdigest


def hash_of(file: BinaryIO, algorithm: str) -> str:
    """Return the hash of an open file, from its beginning, as lower-case hex. Blocks."""
    file.seek(0)
    # a BinaryIO is what it reads
    return hashlib.file_digest(file, algorithm).hexdigest()  # type: ignore[arg-type]
