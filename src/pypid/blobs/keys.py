"""Validation of keys, and reading a body: shared by all stores."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from pypid.ports import Body


def segments(key: str) -> tuple[bytes, ...] | None:
    """Return the segments of `key` as UTF-8, or None if it is not a key.

    Not keys: an empty text, empty segments (so also a ``/`` at either end), ``.``, ``..``, NUL, and
    text that UTF-8 cannot encode. Nothing that leads out of a folder is a key.
    """
    try:
        found = tuple(key.encode().split(b"/"))
    except UnicodeEncodeError:
        return None
    if b"\0" in key.encode() or any(part in (b"", b".", b"..") for part in found):
        return None
    return found


def must_be_key(key: str) -> tuple[bytes, ...]:
    """Return the segments of a key to write to. Raises `ValueError`: writing to anything else is a
    programming error.
    """
    found = segments(key)
    if found is None:
        raise ValueError(f"{key!r} is not a key")
    return found


async def pieces(body: Body) -> AsyncGenerator[bytes]:
    """Yield the pieces of `body`, up to the last byte. Raises `EOFError` if it is not as long as
    announced.

    Close it by hand; that also closes the iteration of the body, not the body.
    """
    promised, came = body.size, 0
    source = aiter(body)
    try:
        async for piece in source:
            came += len(piece)
            yield piece
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()
    if promised is not None and came != promised:
        raise EOFError(f"the body was to have {promised} bytes, and has {came}")
