"""The publishers of upstream files (``[trust]``): verification of provenance, what is remembered of
each project, and the files that its rules hold or doubt.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.attestations.program import AttestedFile
from pypid.core.caches import Recent
from pypid.core.errors import BadRequest, PypidError, StorageDown
from pypid.core.model import File, StoredFile, UpstreamEntry
from pypid.core.packaging.names import ProjectName
from pypid.core.restrictions import RestrictionsInForce
from pypid.core.trust import (
    PublisherVerdict,
    Ratchet,
    TrustDocument,
    TrustedProjects,
    TrustRule,
    TrustRules,
)
from pypid.flow import World, start
from pypid.flow.derived import Locks
from pypid.index.decisions import DecisionFolder
from pypid.index.upstream.file_cache import FileCache
from pypid.metrics.counts import TRUST
from pypid.ports import Catalog

_log = Logger()

Verify = Callable[[Sequence[AttestedFile]], Sequence[PublisherVerdict]]
"""Returns the verdicts of provenance objects, in their order. Blocks
(`Attesting.verdicts`).
"""

TOGETHER = 100
"""Provenance objects that one process verifies."""
GATHER = 5.0
"""Seconds in which provenance of cached files is gathered, to be verified together."""
MOST_PROJECTS = 5000
"""Number of projects whose verdicts are remembered; the least recently verified are forgotten."""
MOST_FILES = 500
"""Number of verdicts that are remembered for a project."""
MOST_REPORTED = 20_000
MOST_WAITING = 2000
LARGEST_WAITING = 32 << 20
"""Number of provenance objects that wait for their verification, and their bytes; further files
teach no publisher.
"""


@frozen
class DoubtedFile:
    """A file that does not have the expected publisher. `held`: no client gets it."""

    file: File
    reason: str
    held: bool


@define(eq=False)
class PublisherTrust:
    """Judges the publishers of upstream files."""

    rules: TrustRules
    verify: Verify = field(repr=False)
    world: World = field(repr=False)
    restrictions: RestrictionsInForce = field(repr=False)
    folder: DecisionFolder[TrustDocument] = field(repr=False)
    _locks: Locks[ProjectName] = field(factory=Locks, init=False, repr=False)
    _verdicts: OrderedDict[ProjectName, Mapping[str, PublisherVerdict]] = field(
        factory=OrderedDict, init=False, repr=False
    )
    _asking: list[tuple[File, bytes, Deferred[PublisherVerdict]]] = field(
        factory=list, init=False, repr=False
    )
    _is_verifying: bool = field(default=False, init=False)
    _waiting: list[tuple[StoredFile, bytes]] = field(factory=list, init=False, repr=False)
    _learning: Deferred[None] | None = field(default=None, init=False, repr=False)
    _in_force: TrustedProjects | None = field(default=None, init=False, repr=False)
    _reported: Recent[tuple[str, str, str], bool] = field(
        factory=lambda: Recent(MOST_REPORTED, MOST_REPORTED), init=False, repr=False
    )
    _serials: dict[ProjectName, int] = field(factory=dict, init=False, repr=False)
    """The serials of the entries that `look` has seen."""

    def __attrs_post_init__(self) -> None:
        self.folder.changed.connect(self._put_in_force)
        self._put_in_force()

    def _put_in_force(self) -> None:
        projects = self._projects()
        if projects:
            self._in_force = projects.following(self._in_force or projects)
            self.restrictions.replace("trust", self._in_force)

    def _projects(self) -> TrustedProjects:
        known = self.folder.all
        unreadable = self.folder.unreadable.keys() - known.keys()
        return TrustedProjects(self.rules, known, dict(self._verdicts), unreadable)

    def rule(self, name: ProjectName) -> TrustRule:
        """Return the rule for the files of the project."""
        return self._projects().rule(name)

    def follow(self, file_cache: FileCache) -> None:
        """Learn from the files that this cache stores."""
        file_cache.stored_file.connect(self.note_cached)
        file_cache.provenance.stored.connect(self.note_provenance)

    # --- judging ---

    def needs_provenance(self, file: File) -> bool:
        """Return whether a rule can only decide on this upstream file by its provenance."""
        if file.source is None:
            return False
        restrictions = self.restrictions.current.of(file.project)
        rules = () if restrictions is None else restrictions.rules
        return any(isinstance(rule, TrustRule) and not rule.is_judged(file) for rule in rules)

    async def verdict(self, file: File, provenance: bytes) -> PublisherVerdict:
        """Return the verdict of the provenance object of an upstream file, which is remembered."""
        known = self.known_verdict(file)
        if known is not None:
            return known
        verdict: Deferred[PublisherVerdict] = Deferred()
        self._asking.append((file, provenance, verdict))
        if not self._is_verifying:
            self._is_verifying = True
            start(self._verify_all())
        return await verdict

    def known_verdict(self, file: File) -> PublisherVerdict | None:
        """Return the verdict of the file, if its provenance was verified by this process."""
        return self._verdicts.get(file.project, {}).get(file.sha256 or "")

    def refuse(self, file: File, problem: str) -> None:
        """Remember that the file has no usable provenance."""
        self._remember([(file, PublisherVerdict(problem=problem))])

    async def _verify_all(self) -> None:
        """Verify what is asked for, one process at a time; the next one verifies all that came
        meanwhile.
        """
        try:
            while self._asking:
                batch, self._asking = self._asking[:TOGETHER], self._asking[TOGETHER:]
                await self._verify_batch(batch)
        finally:
            self._is_verifying = False

    async def _verify_batch(
        self, batch: Sequence[tuple[File, bytes, Deferred[PublisherVerdict]]]
    ) -> None:
        files = [
            AttestedFile(file.filename, file.sha256 or "", data.decode(errors="replace"))
            for file, data, _ in batch
        ]
        try:
            verdicts = await self.world.blocking(self.verify, files)
        except Exception:
            failure = Failure()  # type: ignore[no-untyped-call]
            for _, _, waiting in batch:
                waiting.errback(failure)
            return
        self._remember(
            [(file, verdict) for (file, *_), verdict in zip(batch, verdicts, strict=True)]
        )
        for (_, _, waiting), verdict in zip(batch, verdicts, strict=True):
            waiting.callback(verdict)

    def _remember(self, verdicts: Sequence[tuple[File, PublisherVerdict]]) -> None:
        for file, verdict in verdicts:
            if file.sha256 is None:
                continue
            known = {**self._verdicts.pop(file.project, {}), file.sha256: verdict}
            if len(known) > MOST_FILES:
                known.pop(next(iter(known)))
            self._verdicts[file.project] = known
            if len(self._verdicts) > MOST_PROJECTS:
                self._verdicts.popitem(last=False)
        if any(self.restrictions.current.of(file.project) is not None for file, _ in verdicts):
            self._put_in_force()

    # --- learning from cached files ---

    def note_cached(self, file: StoredFile) -> None:
        """Doubt a file that was cached now, if it has no attestation and earlier ones had."""
        if file.provenance_url is None and not file.attested:
            self._report_if_doubted(file)

    def note_provenance(self, file: StoredFile, provenance: bytes) -> None:
        """Verify the provenance of a cached file soon, and remember its publisher."""
        if self.rules.ratchet is Ratchet.OFF and not self.rules.required(file.project):
            return
        size = len(provenance) + sum(len(data) for _, data in self._waiting)
        if len(self._waiting) < MOST_WAITING and size <= LARGEST_WAITING:
            self._waiting.append((file, provenance))
            if self._learning is None:
                self._learning = start(self._learn())

    async def _learn(self) -> None:
        try:
            while self._waiting:
                await deferLater(self.world.clock, GATHER)
                files, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
                verifying = [(file, start(self.verdict(file, data))) for file, data in files]
                for file, verdict in verifying:
                    await self._learn_from(file, verdict)
        except CancelledError:  # pypid stops
            pass
        except Exception:
            _log.failure("the publishers of cached files could not be verified")
        finally:
            self._learning = None

    async def _learn_from(self, file: StoredFile, verdict: Deferred[PublisherVerdict]) -> None:
        try:
            found = await verdict
            if self.rules.ratchet is not Ratchet.OFF:
                uploaded = file.uploaded or file.seen or self.world.now()
                await self._change(file.project, lambda known: known.with_verdict(found, uploaded))
            self._report_if_doubted(file)
        except PypidError as error:
            _log.warn(
                "the publisher of {filename} is not remembered: {error}",
                filename=file.filename,
                error=error,
            )

    async def _change(
        self, name: ProjectName, change: Callable[[TrustDocument], TrustDocument]
    ) -> None:
        """Store what the change makes of the document of a project, after changes that are under
        way.
        """
        async with self._locks.hold(name):
            known = self.folder.all.get(name)
            if known is None and name in self.folder.unreadable:
                raise StorageDown(f"the remembered publishers of {name} cannot be read.")
            known = known or TrustDocument(name)
            changed = change(known)
            if changed is not known:
                await self.folder.put(name, changed)

    async def close(self) -> None:
        """Verify nothing else."""
        self._waiting.clear()
        learning = self._learning
        if learning is not None:
            learning.cancel()
            await learning

    # --- doubts ---

    def doubts(self, entry: UpstreamEntry) -> Sequence[DoubtedFile]:
        """Return the doubted files of an upstream project, as far as their provenance is known."""
        rule = self.rule(entry.name)
        if not rule.required and not rule.publishers:
            return ()
        cached = {file.filename: file for file in entry.kept}
        listed = (entry.listing.files if entry.listing is not None else entry.kept) or ()
        known = ((file, cached.get(file.filename)) for file in listed)
        files = (kept if kept and kept.sha256 == file.sha256 else file for file, kept in known)
        return [doubt for file in files if (doubt := _doubt(rule, file)) is not None]

    async def look(self, catalog: Catalog) -> None:
        """Log the doubted files that came since the last look."""
        async for entry in self.entries(catalog):
            if self._serials.get(entry.name) != entry.serial:
                self._serials[entry.name] = entry.serial
                for doubt in await self.world.thinking(self.doubts, entry):
                    self._report(doubt)

    async def entries(self, catalog: Catalog) -> AsyncIterator[UpstreamEntry]:
        """Yield the entries of the projects that a rule is about."""
        names = {ProjectName(name) for name in self.folder.all}
        if self.rules.require:
            for summary in await catalog.upstream.summaries():
                if self.rules.required(summary.name):
                    names.add(summary.name)
        for name in sorted(names):
            yield await catalog.upstream.get(name)

    def _report_if_doubted(self, file: File) -> None:
        doubt = _doubt(self.rule(file.project), file)
        if doubt is not None:
            self._report(doubt)

    def _report(self, doubt: DoubtedFile) -> None:
        file = doubt.file
        key = (file.project, file.filename, doubt.reason)
        if self._reported.get(key):
            return
        self._reported.put(key, True)
        self.world.counts.add(TRUST, ("held" if doubt.held else "doubted",))
        _log.warn(
            "{filename} of {project} is {state}: {reason}. To accept it: pypid trust approve "
            "{project} {filename}",
            filename=file.filename,
            project=file.project,
            state="held" if doubt.held else "served, and doubted",
            reason=doubt.reason,
        )

    # --- decisions ---

    async def approve(self, file: File, by: str) -> None:
        """Accept the file, and with it the publishers that were verified for it. Raises what
        `DecisionFolder.put` raises.
        """
        verdict = self.known_verdict(file)
        await self._change(file.project, lambda known: known.approving(file, verdict, by))

    async def reset(self, name: ProjectName) -> None:
        """Forget the publishers and approvals of a project. Raises `BadRequest` if there are
        none.
        """
        async with self._locks.hold(name):
            if name not in self.folder.all and name not in self.folder.unreadable:
                raise BadRequest(f"No publisher or approval of {name} is remembered.")
            await self.folder.delete(name)


def _doubt(rule: TrustRule, file: File) -> DoubtedFile | None:
    missing = rule.missing(file)
    reason = missing or rule.doubt(file)
    return DoubtedFile(file, reason, bool(missing) or rule.holds) if reason else None
