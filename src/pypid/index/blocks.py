"""Blocks: administrators withhold a project, versions of it, or a file by its digest. Each is a
document of record in the storage (`index.decisions`), and a rule in force (`core.restrictions`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import define, field, frozen
from twisted.logger import Logger

from pypid.core.configuration.ini import printable
from pypid.core.errors import BadName, BadRequest, NoSuchBlock
from pypid.core.model import File
from pypid.core.packaging.block_spec import BlockSpec, parse_block_spec
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.records.documents import BlockDocument
from pypid.core.restrictions import FileRule, Hold, HoldKind, ProjectRestrictions
from pypid.index.decisions import DecisionFolder, Decisions

_log = Logger()

FOLDER = "blocks"
LONGEST_REASON = 500
"""Maximum number of characters of a reason."""
_ADVISORY = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._:-]{0,99})?")
_ID = re.compile(r"(.+)-[0-9a-f]{8}\Z")
_OF_DIGEST = re.compile(r"sha256-([0-9a-f]{64})-[0-9a-f]{8}\Z")
_UNREADABLE = (
    "the document of this block cannot be read, so everything that its id names is withheld"
)


@frozen
class StoredBlock:
    """A block in force. `reason` is one printable line."""

    id: str
    spec: BlockSpec
    reason: str
    document: BlockDocument | None
    """None: it cannot be read."""

    @property
    def project(self) -> ProjectName | None:
        """The only project whose files it hits; None for a block by digest."""
        return self.spec.project

    @property
    def sha256(self) -> str | None:
        """The only digest that it hits; None for a block of a project."""
        return self.spec.sha256

    def hits(self, file: File) -> bool:
        """Return whether it withholds the file."""
        if self.spec.sha256 is not None:
            return file.sha256 == self.spec.sha256
        return file.project == self.spec.project and self.spec.includes(file.version)


@frozen
class BlockRule:
    """The rule of one block for the files of its project, or with its digest."""

    id: str
    spec: BlockSpec
    reason: str
    upstream_only: bool = False
    by_version: bool = True

    def hides(self, file: File) -> Hold | None:
        """Return why it hides the file of its project."""
        if self.spec.includes(file.version):
            return Hold(HoldKind.BLOCKED, self.reason, self.id)
        return None


@define(eq=False)
class Blocks:
    """The blocks of one index. They are in force as soon as they are known."""

    decisions: Decisions
    all: Mapping[str, StoredBlock] = field(factory=dict, init=False, repr=False)
    """The blocks by id. Replaced as a whole."""
    _folder: DecisionFolder[BlockDocument] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._folder = self.decisions.folder(FOLDER, BlockDocument)
        self._folder.changed.connect(self._apply)

    def find(self, id: str) -> StoredBlock:
        """Return the block. Raises `NoSuchBlock`."""
        found = self.all.get(id)
        if found is None:
            raise NoSuchBlock(id)
        return found

    async def create(self, spec: BlockSpec, reason: str, advisory: str, by: str) -> StoredBlock:
        """Block what `spec` names: durable, and in force in all workers of this machine, when this
        returns. What is blocked already keeps its block, which is returned.
        Raises `BadRequest`, `StorageDown`, `StorageFull`.
        """
        reason = reason.strip()
        if not reason or len(reason) > LONGEST_REASON or not reason.isprintable():
            raise BadRequest(
                f"A block needs a reason: one line of at most {LONGEST_REASON} printable "
                "characters."
            )
        if not _ADVISORY.fullmatch(advisory):
            raise BadRequest(f"{advisory[:100]!r} is not the id of an advisory.")
        same = next((block for block in self.all.values() if block.spec == spec), None)
        if same is not None:
            return same
        subject = spec.project or f"sha256-{spec.sha256}"
        id = f"{subject}-{self.decisions.world.random(4).hex()}"
        document = BlockDocument(spec.text, reason, self.decisions.world.now(), by, advisory)
        await self._folder.put(id, document, replace=False)
        return StoredBlock(id, spec, reason, document)

    async def delete(self, id: str) -> StoredBlock:
        """Delete the block and return it; otherwise as `create`. Raises `NoSuchBlock`."""
        found = self.find(id)
        await self._folder.delete(id)
        return found

    def _apply(self) -> None:
        """Put the blocks in force that the storage has now."""
        found = [self._block(id, document) for id, document in self._folder.all.items()]
        found += [_unreadable(id) for id in self._folder.unreadable if id not in self._folder.all]
        self.all = {block.id: block for block in found if block is not None}
        rules: dict[ProjectName, list[FileRule]] = {}
        digests: dict[str, FileRule] = {}
        for block in self.all.values():
            rule = BlockRule(block.id, block.spec, block.reason)
            if block.spec.sha256 is not None:
                digests[block.spec.sha256] = rule
            elif block.spec.project is not None:
                rules.setdefault(block.spec.project, []).append(rule)
        projects = {name: ProjectRestrictions(tuple(each)) for name, each in rules.items()}
        self.decisions.restrictions.replace(FOLDER, projects, digests)

    def _block(self, id: str, document: BlockDocument) -> StoredBlock | None:
        known = self.all.get(id)  # there may be thousands, and a specifier takes long to parse
        return known if known is not None and known.document is document else _block(id, document)


def _block(id: str, document: BlockDocument) -> StoredBlock | None:
    try:
        spec = parse_block_spec(document.spec)
    except BadRequest as error:
        _log.error("the block {id} cannot be used: {error}", id=id, error=error)
        return _unreadable(id)
    return StoredBlock(id, spec, printable(document.reason, LONGEST_REASON), document)


def _unreadable(id: str) -> StoredBlock | None:
    """Return a block of everything that the id of an unreadable one names."""
    digest = _OF_DIGEST.match(id)
    if digest is not None:
        return StoredBlock(id, BlockSpec(sha256=digest[1]), _UNREADABLE, None)
    name = _ID.match(id)
    try:
        project = project_name(name[1] if name is not None else "")
    except BadName:
        return None
    return StoredBlock(id, BlockSpec(project), _UNREADABLE, None)
