"""What the child process that parses advisories sends: frames of MessagePack, each after its length
in four bytes (big-endian).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import msgspec

from pypid.core.advisories.osv import AdvisorySummary

LONGEST_DOCUMENT = 4 << 20
"""Bytes of one document, and also of its compressed form."""
LONGEST_FRAME = 32 << 20
"""Bytes of a frame; a batch has about one megabyte, but a document and its summaries may be
larger.
"""
MALWARE_RANK = 5
WITHDRAWN_RANK = -1


class ParsedRecord(msgspec.Struct, array_like=True):
    """A record for the database."""

    id: str
    document: bytes
    """JSON, compressed by deflate."""
    rank: int
    """See `rank_of`."""
    summaries: list[tuple[str, bytes]]
    """Pairs of a PyPI project and its encoded `AdvisorySummary`."""


class ParsedBatch(msgspec.Struct, array_like=True):
    """Some of the parsed documents."""

    records: list[ParsedRecord] = []
    problems: list[str] = []
    """Documents that were skipped, and why; only the first ones."""
    skipped: int = 0
    """How many documents were skipped."""
    failure: str = ""
    """Why the whole source cannot be used; then this is the last batch."""
    is_last: bool = False


def rank_of(summary: AdvisorySummary) -> int:
    """Return a number for the selection of blocked projects: 0 to 4 by severity, 5 for malware, -1
    for what was withdrawn.
    """
    if summary.withdrawn:
        return WITHDRAWN_RANK
    return MALWARE_RANK if summary.is_malware else summary.severity.rank


def frame_of(batch: ParsedBatch) -> bytes:
    """Return the frame of a batch."""
    data = _encoder.encode(batch)
    return len(data).to_bytes(4, "big") + data


def batches_in(stream: IO[bytes]) -> Iterator[ParsedBatch]:
    """Yield the batches until the last one. Raises `ValueError` for anything else."""
    while True:
        head = stream.read(4)
        length = int.from_bytes(head, "big")
        if len(head) < 4 or length > LONGEST_FRAME:
            raise ValueError("it ended before its last answer" if len(head) < 4 else "too long")
        data = stream.read(length)
        batch = _decoder.decode(data)  # `msgspec.DecodeError` is a `ValueError`
        yield batch
        if batch.is_last or batch.failure:
            return


def encoded_summary(summary: AdvisorySummary) -> bytes:
    """Return the summary as the database has it."""
    return _encoder.encode(summary)


def decoded_summaries(encoded: bytes) -> tuple[AdvisorySummary, ...]:
    """Return the summaries of one project out of their `joined` encoded forms."""
    return _summaries.decode(encoded)


def joined(summaries: list[bytes]) -> bytes:
    """Return the encoded summaries of one project as one encoded array (MessagePack, array 32)."""
    return b"\xdd" + len(summaries).to_bytes(4, "big") + b"".join(summaries)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ParsedBatch)
_summaries = msgspec.msgpack.Decoder(tuple[AdvisorySummary, ...])
