"""What an export remembers of the tree that it wrote, so that the next one need only look at the
projects that have changed since.

The document is JSON: a line with a `_Head`, then lines with lists of `ProjectState`. A project's
fingerprint consists of the serials of its catalog entries; serials never repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from itertools import islice
from secrets import token_hex

import msgspec
from attrs import evolve, field, frozen

from pypid import __version__
from pypid.core.claims import Claims
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import Policy
from pypid.export.newest import ProjectNews
from pypid.export.options import ExportOptions

FORMAT = 1
BLOCK = 256
"""Projects on one line: in a thread, other threads run after each line."""

Fingerprint = tuple[int, int]
"""The serials of the local and of the upstream entry; -1 for one that the page does not show."""
_run = token_hex(8)
"""The name of this process."""


class ProjectState(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A project whose pages are in the tree."""

    name: ProjectName
    fingerprint: Fingerprint
    until: datetime | None
    """When the pages change by themselves, because a file becomes old enough."""
    news: ProjectNews


class _Head(msgspec.Struct, frozen=True):
    format: int
    basis: str
    since: datetime
    projects: int


@frozen
class TreeState:
    """The projects of a tree. `since`: see `NewestProjects.since`."""

    since: datetime
    projects: Mapping[ProjectName, ProjectState] = field(repr=False)


@frozen
class TreeBasis:
    """Everything but the projects that pages depend on."""

    options: ExportOptions
    policy: Policy
    fetches: bool
    """Whether the user of the view may have pypid fetch from upstream."""
    generation: str
    """`Catalog.generation`; empty for a catalog in memory."""

    def text(self, run: str = "") -> str:
        """Return a digest of all of it. `run`: the only process for which it holds."""
        options = evolve(self.options, dated=False)
        policy = evolve(self.policy, claims=Claims())  # part of each fingerprint
        digests = sorted(self.policy.restrictions.current.digests)
        whole = (
            __version__, options, policy.__repr__(), digests, self.fetches, self.generation, run,
        )  # fmt: skip
        return sha256(repr(whole).encode()).hexdigest()

    def texts(self) -> tuple[str, ...]:
        """Return the digests with which a document is valid now."""
        return (self.text(), self.text(_run))

    def text_for(self, serial: int, now: datetime) -> str:
        """Return the digest for a document that is written now. `serial`: the catalog's.

        The first serial of a catalog in memory is the time of its start. A later process gives a
        serial again only if this one is ahead of the clock; then the document is for this process.
        """
        repeats = not self.generation and serial > now.timestamp()
        return self.text(_run if repeats else "")


_encoder = msgspec.json.Encoder()
_head = msgspec.json.Decoder(_Head)
_block = msgspec.json.Decoder(list[ProjectState])


def dump_state(basis: str, since: datetime, projects: Iterable[ProjectState]) -> bytes:
    """Return the document."""
    left, lines, count = iter(projects), list[bytes](), 0
    while block := list(islice(left, BLOCK)):
        count += len(block)
        lines.append(_encoder.encode(block))
    return b"\n".join((_encoder.encode(_Head(FORMAT, basis, since, count)), *lines))


def load_state(data: bytes, valid: Iterable[str]) -> TreeState | None:
    """Return the content of a document; None if it is damaged, or has no `valid` basis."""
    first, *lines = data.split(b"\n")
    try:
        head = _head.decode(first)
        if head.format != FORMAT or head.basis not in valid:
            return None
        projects = {each.name: each for line in lines for each in _block.decode(line)}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return TreeState(head.since, projects) if len(projects) == head.projects else None
