"""Signed URLs in a file beside the dump: after a restart clients get the same ones, which their
caches recognize.

Such a URL gives access to the file: mode 0600, never in the storage, never in a log.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
from attrs import define, field
from twisted.logger import Logger

from pypid.catalog.signed_urls import MOST, Links
from pypid.core.errors import Unreadable
from pypid.core.model import SignedUrl
from pypid.core.records.documents import FORMAT, dump, load
from pypid.flow import World

_log = Logger()

FILE = "urls.jsonl"
LARGEST = MOST * 4096
"""Bytes of the largest file that is read."""


class _Head(msgspec.Struct, frozen=True):
    """The first line. `signer` identifies the signer of these URLs; `lines` is the number of lines
    that follow.
    """

    signer: str
    lines: int
    format: int = FORMAT


class _Line(msgspec.Struct, frozen=True):
    key: str
    url: str
    expires: Annotated[datetime, msgspec.Meta(tz=True)]
    signer: str = ""


@define(eq=False)
class WrittenLinks:
    """A file in `folder`, that of the dump, kept up to date with `links`. `signer`: URLs of another
    signer are ignored.
    """

    links: Links
    folder: Path
    signer: str
    world: World
    _changes: int = field(default=0, init=False)

    async def load(self) -> int:
        """Load the URLs that are still valid; return their number. An unreadable file is ignored,
        with a line in the log.
        """
        try:
            found = await self.world.blocking(_read, self.folder / FILE, self.signer)
        except FileNotFoundError:
            return 0
        except (Unreadable, OSError) as error:
            _log.warn(
                "The signed URLs that were written down are ignored: {error}",
                error=_without_content(error),
            )
            return 0
        self.links.remember(found)
        self._changes = self.links.changes
        return len(self.links.good())

    async def write(self) -> bool:
        """Write the URLs if they have changed since the last time; return whether that is done. A
        failure is logged.
        """
        changes = self.links.changes
        if changes == self._changes:
            return True
        try:
            await self.world.blocking(_write, self.folder, self.signer, self.links.good())
        except OSError as error:
            _log.error(
                "The signed URLs could not be written down: {error}", error=_without_content(error)
            )
            return False
        self._changes = changes
        return True


def _read(path: Path, signer: str) -> list[tuple[str, SignedUrl]]:
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise Unreadable(FILE, "it is too large")
    first, *lines = data.splitlines() or [b""]
    head = load(_Head, first, FILE)
    if head.signer != signer:
        return []
    if len(lines) != head.lines:
        raise Unreadable(FILE, f"it has {len(lines)} lines in place of {head.lines}")
    decoder = msgspec.json.Decoder(_Line)
    try:
        return [
            (line.key, SignedUrl(line.url, line.expires, line.signer))
            for line in map(decoder.decode, lines)
        ]
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unreadable(
            FILE, "a line of it is none of ours"
        ) from None  # not chained: the cause may quote a URL


def _write(folder: Path, signer: str, links: Iterable[tuple[str, SignedUrl]]) -> None:
    """Replace the file atomically, so that a crash leaves the one before. It is not synced: if a
    power cut damages it, it is ignored.
    """
    lines = [dump(_Line(key, link.url, link.expires, link.signer)) for key, link in links]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = folder / f"{FILE}.part"
    part.unlink(missing_ok=True)
    descriptor = os.open(
        part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(b"".join((dump(_Head(signer, len(lines))), *lines)))
    part.replace(folder / FILE)


def _without_content(error: Exception) -> str:
    return str(error.strerror) if isinstance(error, OSError) else str(error)
