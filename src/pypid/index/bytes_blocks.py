"""What blocks say of stored bytes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from attrs import field, frozen

from pypid.core.model import File, StoredFile
from pypid.core.packaging.names import ProjectName


class BytesBlock(Protocol):
    """What a block says of files."""

    @property
    def project(self) -> ProjectName | None:
        """The only project whose files it hits; None for a block by digest."""

    @property
    def sha256(self) -> str | None:
        """The only digest that it hits; None for a block of a project."""

    def hits(self, file: File) -> bool:
        """Return whether the block withholds the file."""


@frozen(eq=False)
class BytesBlocks:
    """The blocks in force, found by what they hit: each of many files cannot ask each of ten
    thousand blocks.
    """

    by_id: Mapping[str, BytesBlock] = field(factory=dict)
    _ids: Mapping[str | None, Sequence[str]] = field(init=False, repr=False)
    """By the project or the digest."""

    def __attrs_post_init__(self) -> None:
        ids: dict[str | None, list[str]] = {}
        for id, block in self.by_id.items():
            ids.setdefault(block.project or block.sha256, []).append(id)
        object.__setattr__(self, "_ids", ids)

    def __contains__(self, id: str) -> bool:
        """Return whether the block of this id is in force."""
        return id in self.by_id

    def first_hit(self, file: StoredFile, without: str = "") -> str | None:
        """Return the id of the first block, other than `without`, that hits the file, or None."""
        ids = (id for target in (file.project, file.sha256) for id in self._ids.get(target, ()))
        return next((id for id in ids if id != without and self.by_id[id].hits(file)), None)
