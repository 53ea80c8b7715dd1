"""Decisions of administrators: small documents of record in the storage, such as blocks. Every
process has them in memory.

``.pypid/<folder>/<id>.json`` is one decision. After each change ``.pypid/decisions.json`` gets
another random value: processes look at its ETag every second, and read the folders when it has
changed. The other workers of this machine are told, and a change is acknowledged once they have
read it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
from attrs import Factory, define, field, frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.logger import Logger

from pypid import prefork
from pypid.core.configuration.ini import printable
from pypid.core.errors import (
    BadName,
    BadRequest,
    Exists,
    Missing,
    NameTaken,
    NoSuchResource,
    StorageDown,
    Unreadable,
    shortened,
)
from pypid.core.model import Blob, File
from pypid.core.packaging.block_spec import BlockSpec, parse_block_spec
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.records.documents import BlockDocument, DecisionsStamp, dump, load
from pypid.core.records.layout import DECISIONS, OURS_AS_A_WHOLE, decision_key
from pypid.core.restrictions import (
    FileRule,
    Hold,
    HoldKind,
    ProjectRestrictions,
    RestrictionsInForce,
)
from pypid.flow import BytesBody, World, start
from pypid.flow.conditions import PeriodicJobs
from pypid.flow.derived import Signal
from pypid.index.progress import all_of
from pypid.index.store import records
from pypid.ports import Blobs
from pypid.prefork.messages import Acknowledgement, Message, Siblings

D = TypeVar("D", bound=msgspec.Struct)
_log = Logger()

MOST = 10_000
"""Maximum number of documents in a folder."""
LARGEST = 64 << 10
"""Maximum size of a document in bytes."""
LOOK = 0.8
"""Seconds between two looks at the ETag, where other processes may write to the storage: a change
is read within a second.
"""
LIST = 30.0
"""Seconds between two listings of the folders: a process may die before it writes the stamp."""
PATIENCE = 3.0
"""Seconds to wait for the other workers to have read a change; each of them looks every second."""
FIRST_READ = 10.0
"""Seconds that a request waits for the first reading."""
READ_AT_ONCE = 16
CHANGED, READ = "decisions-changed", "decisions-read"
"""The kinds of messages between workers."""
_ID = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,218}[a-z0-9])?")
_SUFFIX = ".json"


@frozen
class _Entry(Generic[D]):
    etag: str
    document: D | None
    problem: str = ""


@define(eq=False)
class DecisionFolder(Generic[D]):
    """The decisions of one kind, by id. `Decisions.folder` makes it."""

    name: str
    kind: type[D]
    decisions: Decisions = field(repr=False)
    all: Mapping[str, D] = field(factory=dict, init=False, repr=False)
    """The readable documents. Replaced as a whole."""
    unreadable: Mapping[str, str] = field(factory=dict, init=False, repr=False)
    """The ids of documents that could not be read, with the reasons. Of a document that was
    readable before, `all` has the last version.
    """
    changed: Signal[[]] = field(factory=Signal, init=False, repr=False)
    """Emitted after each change, also those that other processes made."""
    _entries: Mapping[str, _Entry[D]] = field(factory=dict, init=False, repr=False)

    async def put(self, id: str, document: D, *, replace: bool = True) -> None:
        """Store the document; it is durable, and in force in all workers of this machine, when this
        returns.

        Raises `BadRequest`, `NameTaken` (without `replace`), `StorageDown`, `StorageFull`.
        """
        data = dump(document)
        if not _ID.fullmatch(id):
            raise BadRequest(f"{id[:80]!r} is not a valid id.")
        if len(data) > LARGEST:
            raise BadRequest(f"The document is larger than {LARGEST} bytes: use shorter texts.")
        if id not in self._entries and len(self._entries) >= MOST:
            raise BadRequest(f"There are {MOST} documents already: delete one first.")
        try:
            await self.decisions.blobs.write(self._key(id), BytesBody(data), replace=replace)
        except Exists:
            raise NameTaken(id, "there is a document of this name") from None
        await self.decisions.spread()

    async def delete(self, *ids: str) -> None:
        """Delete the documents; nothing happens if there are none. Otherwise as `put`."""
        valid = [id for id in ids if _ID.fullmatch(id)]
        for id in valid:
            await self.decisions.blobs.delete(self._key(id))
        if valid:
            await self.decisions.spread()

    def _key(self, id: str) -> str:
        return decision_key(self.name, id)

    async def refresh(self) -> None:
        """Read the documents that have changed. Raises `StorageDown`."""
        prefix = f"{OURS_AS_A_WHOLE}{self.name}/"
        async with aclosing(self.decisions.blobs.list(prefix)) as listing:
            found = [blob async for blob in listing]
        ids = {blob.key.removeprefix(prefix).removesuffix(_SUFFIX): blob for blob in found}
        valid = {
            id: blob for id, blob in ids.items() if blob.key == self._key(id) and _ID.fullmatch(id)
        }
        if len(valid) > MOST:
            _log.error("more than {most} documents below {prefix}", most=MOST, prefix=prefix)
        entries = await all_of(
            [partial(self._entry, id, blob) for id, blob in valid.items()], READ_AT_ONCE
        )
        self._use(dict(zip(valid, entries, strict=True)))

    async def _entry(self, id: str, blob: Blob) -> _Entry[D] | None:
        """Return the entry of a listed document; None if it was deleted meanwhile."""
        known = self._entries.get(id)
        if known is not None and known.etag == blob.etag and not known.problem:
            return known
        try:
            if blob.size > LARGEST:
                raise Unreadable(blob.key, f"it has {blob.size} bytes")
            data = await records.read_bytes(self.decisions.blobs, blob.key, LARGEST)
            if data is None:
                return None
            return _Entry(blob.etag, load(self.kind, data, blob.key))
        except Unreadable as error:
            if known is None or known.problem != str(error):
                _log.error("{error}; repair or delete this document", error=error)
            return _Entry(blob.etag, None if known is None else known.document, str(error))

    def _use(self, found: Mapping[str, _Entry[D] | None]) -> None:
        entries = {id: entry for id, entry in found.items() if entry is not None}
        if entries == self._entries:
            return
        self._entries = entries
        self.all = {
            id: entry.document for id, entry in entries.items() if entry.document is not None
        }
        self.unreadable = {id: entry.problem for id, entry in entries.items() if entry.problem}
        self.changed.emit()


@define(slots=False, eq=False)
class Decisions(PeriodicJobs):
    """The decisions in one storage. `restrictions` are known once they were read.

    `others_write`: other processes may write to the storage. `worker_count`: the workers of this
    machine, which `siblings` reaches.
    """

    blobs: Blobs
    world: World
    restrictions: RestrictionsInForce
    others_write: bool = False
    siblings: Siblings = field(factory=Siblings)
    worker_count: int = 1
    reported: Signal[[]] = field(factory=Signal, init=False, repr=False)
    """Emitted after a change of this process, before it is acknowledged."""
    _folders: dict[str, DecisionFolder[Any]] = field(factory=dict, init=False, repr=False)
    _stamp: str | None = field(default=None, init=False)
    """The ETag of the stamp when the folders were read last; "" without a stamp."""
    _turn: DeferredLock = field(factory=DeferredLock, init=False, repr=False)
    _requested: int = field(default=0, init=False)
    _read_up_to: int = field(default=0, init=False)
    """The last request for a reading that preceded a successful one."""
    _waiting: list[Deferred[None]] = field(factory=list, init=False, repr=False)
    """Requests that wait for the first reading."""
    _changes: int = field(default=0, init=False)
    _acknowledgements: dict[int, Acknowledgement] = field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        super().__init__(self.world.clock)
        self.add_job(LOOK, self.look, "looking for new decisions")
        if self.others_write:
            self.add_job(LIST, self._list, "reading the decisions")
        self.siblings.on(CHANGED, self._changed)
        self.siblings.on(READ, self._was_read)

    @property
    def is_read(self) -> bool:
        """Whether all folders were read at least once."""
        return self._stamp is not None

    def folder(self, name: str, kind: type[D]) -> DecisionFolder[D]:
        """Return the folder with documents of this kind: one for each name, before `begin`."""
        assert name not in self._folders, name
        made = DecisionFolder(name, kind, self)
        self._folders[name] = made
        return made

    # --- reading ---

    async def begin(self) -> None:
        """Read all folders; if the storage is away, it is tried again each second."""
        try:
            await self.refresh()
        except StorageDown as error:
            _log.error("{error} No file is served until the blocks were read.", error=error)

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        if not self.restrictions.current.is_known:
            start(self.begin()).addErrback(
                lambda failure: _log.failure("reading the decisions failed", failure=failure)
            )

    async def ready(self) -> None:
        """Wait for the first reading, for `FIRST_READ` seconds at most."""
        if self.restrictions.current.is_known:
            return
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        waiting.addTimeout(FIRST_READ, self.world.clock)
        try:
            await waiting
        except TimedOut:
            pass
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    async def refresh(self) -> None:
        """Read what has changed, after readings that are under way: one reading for all that wait.
        Raises `StorageDown`.
        """
        self._requested += 1
        number = self._requested
        await self._turn.run(lambda: start(self._read_for(number)))

    async def _read_for(self, number: int) -> None:
        if self._read_up_to < number:
            requested = self._requested
            await self._read()
            self._read_up_to = requested

    async def _read(self) -> None:
        stamp = await self._etag()  # first: what is read later is not older
        failures = []
        for folder in self._folders.values():
            try:
                await folder.refresh()
            except StorageDown:
                raise
            except Exception as error:  # of one kind: the other kinds are put in force
                failures.append(error)
        if failures:
            raise failures[0]
        self._stamp = stamp
        self.restrictions.set_known(True)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    async def _etag(self) -> str:
        try:
            return (await self.blobs.stat(DECISIONS)).etag
        except Missing:
            return ""

    async def look(self) -> None:
        """Read the folders, if they were not read yet or another process has changed them."""
        with suppress(StorageDown):  # reported elsewhere
            if self._stamp is None or (self.others_write and await self._etag() != self._stamp):
                await self.refresh()

    async def _list(self) -> None:
        with suppress(StorageDown):
            await self.refresh()

    # --- changes ---

    async def spread(self) -> None:
        """Put a change in force here, in the other workers, and let other nodes read it. Raises
        `StorageDown`.
        """
        stamp = DecisionsStamp(self.world.random(16).hex())
        try:
            await records.write_document(self.blobs, DECISIONS, stamp)
        finally:
            await self.refresh()
        self.reported.emit()
        await self._tell_workers()

    async def _tell_workers(self) -> None:
        others = self.worker_count - 1
        if others < 1:
            return
        self._changes += 1
        number, done = self._changes, Deferred[None]()
        self._acknowledgements[number] = Acknowledgement(others, done)
        done.addTimeout(PATIENCE, self.world.clock)
        try:
            me = prefork.number()
            self.siblings.tell({"kind": CHANGED, "worker": me, "number": number})
            await done
        except TimedOut:
            _log.warn("a worker has not confirmed a new decision; it looks for it each second")
        finally:
            del self._acknowledgements[number]

    def _changed(self, message: Message) -> None:
        """Read the folders for another worker, and confirm it."""
        if message["worker"] == prefork.number():
            return

        async def read() -> None:
            with suppress(StorageDown):  # it is tried again soon
                await self.refresh()
                answer = {"kind": READ, "worker": prefork.number()}
                self.siblings.tell({**answer, "to": message["worker"], "number": message["number"]})

        start(read())

    def _was_read(self, message: Message) -> None:
        waiting = self._acknowledgements.get(message["number"])
        if waiting is not None and message["to"] == prefork.number():
            waiting.count(message["worker"])


# Blocks: administrators withhold a project, versions of it, or a file by its digest. Each is a
# document of record in the storage (`index.decisions`), and a rule in force (`core.restrictions`).

FOLDER = "blocks"
LONGEST_REASON = 500
"""Maximum number of characters of a reason."""
_ADVISORY = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._:-]{0,99})?")
_BLOCK_ID = re.compile(r"(.+)-[0-9a-f]{8}\Z")
_OF_DIGEST = re.compile(r"sha256-([0-9a-f]{64})-[0-9a-f]{8}\Z")
_UNREADABLE = (
    "the document of this block cannot be read, so everything that its id names is withheld"
)


@frozen
class StoredBlock:
    """A block in force, and its rule (`FileRule`) for the files of its project, or with its digest.
    `reason` is one printable line.
    """

    id: str
    spec: BlockSpec
    reason: str
    document: BlockDocument | None
    """None: it cannot be read."""
    upstream_only: ClassVar[bool] = False
    by_version: ClassVar[bool] = True

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
    _folder: DecisionFolder[BlockDocument] = field(
        default=Factory(lambda self: self.decisions.folder(FOLDER, BlockDocument), takes_self=True),
        init=False,
        repr=False,
    )

    def __attrs_post_init__(self) -> None:
        self._folder.changed.connect(self._apply)

    def find(self, id: str) -> StoredBlock:
        """Return the block. Raises `NoSuchResource`."""
        found = self.all.get(id)
        if found is None:
            raise NoSuchResource(
                f"There is no block {shortened(id)!r}. `pypid block list` and /api/blocks list the "
                "existing ones."
            )
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
        """Delete the block and return it; otherwise as `create`. Raises `NoSuchResource`."""
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
            if block.spec.sha256 is not None:
                digests[block.spec.sha256] = block
            elif block.spec.project is not None:
                rules.setdefault(block.spec.project, []).append(block)
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
    name = _BLOCK_ID.match(id)
    try:
        project = project_name(name[1] if name is not None else "")
    except BadName:
        return None
    return StoredBlock(id, BlockSpec(project), _UNREADABLE, None)
