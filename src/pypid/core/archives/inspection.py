"""Inspection of a distribution: its metadata, and all problems of the archive at once.

The metadata inside a distribution is authoritative; the fields in a client's form are a copy at
best.
"""

from __future__ import annotations

from typing import BinaryIO, assert_never

from attrs import field, frozen

from pypid.core.archives.members import MemberProblems, UnusableArchive
from pypid.core.archives.sdists import sdist_metadata
from pypid.core.archives.wheels import egg_metadata, wheel_metadata
from pypid.core.packaging.names import Distribution, Packagetype


@frozen
class Inside:
    """The result of `inspect`. `problems` is empty for an archive that may be published."""

    metadata: bytes | None = field(default=None, repr=False)
    """The exact bytes of METADATA (wheels) or PKG-INFO; None if it is missing or unreadable."""
    problems: tuple[str, ...] = ()


def inspect(file: BinaryIO, distribution: Distribution) -> Inside:
    """Inspect the seekable `file` of this distribution; its position does not matter.

    Blocks: run it in a thread. Reads the headers of a wheel, egg or zip only; a tar is unpacked
    once as a stream. Memory and work are bounded, whatever the bytes are, and no archive makes it
    raise (only `file` itself can).
    """
    findings = MemberProblems()
    metadata: bytes | None = None
    try:
        metadata = _metadata(file, distribution, findings)
    except UnusableArchive as problem:
        findings.add(str(problem))
    return Inside(metadata, findings.problems())


def _metadata(file: BinaryIO, distribution: Distribution, findings: MemberProblems) -> bytes | None:
    match distribution.packagetype:
        case Packagetype.WHEEL:
            return wheel_metadata(file, distribution, findings)
        case Packagetype.SDIST:
            return sdist_metadata(file, distribution.filename, findings)
        case Packagetype.EGG:
            return egg_metadata(file, findings)
        case _ as never:
            assert_never(never)
