"""Adoption of what a pypicloud left in the storage, in place: everything at the first start, later
only what is new.

Until it is complete, an unknown name is not proven absent, and is not looked up upstream
(`IndexContext.is_taking_over`). Each file that is not adopted is reported once; its name stays
local, since pypicloud served it as such.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from hashlib import blake2b

import msgspec
from attrs import evolve, frozen
from twisted.logger import Logger

from pypid.core.errors import BadFilename, BadName, Missing, StorageDown, Unreadable
from pypid.core.model import Blob, Project
from pypid.core.packaging.names import ProjectName, parse_filename, project_name
from pypid.core.records.documents import FORMAT, ProjectStatus
from pypid.core.records.layout import LEFT, ObjectKind, key, listed_as
from pypid.index.context import IndexContext, Pace
from pypid.index.job_group import all_of
from pypid.index.local.adoption import AT_ONCE, Adopted, Adopter, Result, project_of
from pypid.index.local.evidence import described
from pypid.index.progress import Tell
from pypid.index.store import records
from pypid.index.store.reconcile import Reconciled

_log = Logger()

MOST_REMEMBERED = 20_000
MOST_LINES = 1000
"""Files that are logged one by one."""
MOST_NAMES = 200
"""Projects that one log line names."""
_UNKNOWN = (
    "No uploader is recorded for any file of these {count} projects, so pypicloud may have "
    "fetched them from the public index: {names}. They are local projects now, and upstream is "
    "never asked for them. To also offer newer releases of a public one from upstream, list it "
    "in [upstream] allow_mixed."
)


class _Left(msgspec.Struct, frozen=True):
    """Document: the files that were not adopted, each as a hash of its key and its ETag."""

    left: tuple[str, ...] = ()
    format: int = FORMAT


@frozen
class TakeOver:
    """Adopts distributions without a record, and reports what else a pypicloud may have listed."""

    context: IndexContext
    tell: Tell | None = None
    """Notified of the progress, like the log."""

    async def at_start(self, compared: Reconciled) -> Reconciled:
        """Adopt what a comparison found and was not reported before; log the outcome. Raises
        `StorageDown`, `StorageFull`; files adopted until then stay, and the next run continues.
        """
        strays, foreign = await self.fresh(compared.strays), await self.fresh(compared.foreign)
        if strays or foreign:
            bare = await self.context.world.thinking(_names_of, strays) - compared.ours
            self.context.being_adopted.update(bare)
            try:
                came = await self.take(strays, foreign, None, bare=bare)
            finally:
                self.context.being_adopted.clear()
            _say(came)
            await self._say_who(came)
        elsewhere = len(compared.strays) + len(compared.foreign) - len(strays) - len(foreign)
        if elsewhere:
            _log.info(
                "{count} files in the storage are not served; `pypid storage rebuild` lists them",
                count=elsewhere,
            )
        projects = len(await self.context.catalog.local.summaries())
        return evolve(compared, projects=projects, strays=(), foreign=())

    async def take(
        self,
        strays: Sequence[Blob],
        foreign: Sequence[Blob],
        by: str | None,
        *,
        bare: frozenset[ProjectName] = frozenset(),
    ) -> Sequence[Adopted]:
        """Adopt the files and return the outcomes by key. Files that were left are remembered, so
        that `fresh` leaves them out. `bare` as in `Adopter`.
        """
        came = list(await Adopter(self.context, self.tell, bare).adopt(strays, by))
        came += await all_of([partial(self._judged, blob) for blob in foreign], AT_ONCE)
        for name in sorted(
            {name for each in came if each.outcome is Result.REFUSED for name in each.names}
        ):
            await self._claim(name)
        await self._remember([*strays, *foreign], came)
        return sorted(came, key=lambda each: each.key)

    async def fresh(self, blobs: Iterable[Blob]) -> tuple[Blob, ...]:
        """Return the blobs that were not reported before."""
        known = await self._known()
        return tuple(blob for blob in blobs if _mark(blob) not in known)

    # --- files that are no distributions ---

    async def _judged(self, blob: Blob) -> Adopted:
        """Return the outcome for a file whose name is not a distribution's: a pypicloud accepted
        any name.
        """
        name = self._listed_as(blob.key)
        try:
            description = await described(self.context, blob)
            name = name if description.name is None else project_name(description.name)
        except (Missing, StorageDown) as error:
            return Adopted(blob.key, Result.LEFT, (str(error),), lasting=False)
        except BadName:
            pass
        if name is None:
            return Adopted(
                blob.key, Result.LEFT, ("it is no file of an index, and stays where it is.",)
            )
        why = ""
        try:
            parse_filename(blob.key.rpartition("/")[2])
        except BadFilename as error:
            why = str(error)
        problem = (
            f"pypicloud listed it as a file of {name!r}, and no installer of today can take it. "
            f"{why}"
        ).rstrip()
        return Adopted(blob.key, Result.REFUSED, (problem,), names=frozenset({name}))

    def _listed_as(self, where: str) -> ProjectName | None:
        """Return the project that a pypicloud derives from the key of a file without a description:
        its file store accepts any name.
        """
        if self.context.describing is not None:  # a bucket
            return listed_as(where)
        folders = where.split("/")
        if len(folders) != 3 or folders[2].startswith(
            "."
        ):  # a leading dot: a write of pypicloud's that broke off
            return None
        try:
            return project_name(folders[0])
        except BadName:
            return None

    # --- project names ---

    async def _claim(self, name: ProjectName) -> None:
        """Reserve the name although none of its files could be adopted: upstream files must not
        appear under it.
        """
        async with self.context.records.locks.hold(name):
            listing = await self.context.records.listing(name)
            found = await records.project_of(self.context.blobs, name, listing)
            if found.project is None:
                await records.write_document(
                    self.context.blobs, key(name, "", ObjectKind.PROJECT), ProjectStatus()
                )
            await self.context.records.refresh(name)

    async def _say_who(self, came: Sequence[Adopted]) -> None:
        """Log the names of projects that seem to come from the public index."""
        names = []
        pace = Pace(self.context.world)
        for name in sorted(
            {name for each in came if each.outcome is Result.ADOPTED for name in each.names}
        ):
            ours = await self.context.catalog.local.get(name)
            if isinstance(ours, Project) and all(file.uploader is None for file in ours.files):
                names.append(name)
            await pace.keep()
        if names:
            more = [f"and {len(names) - MOST_NAMES} more"] * (len(names) > MOST_NAMES)
            _log.warn(_UNKNOWN, count=len(names), names=" ".join([*names[:MOST_NAMES], *more]))

    # --- files that were reported already ---

    async def _known(self) -> frozenset[str]:
        try:
            document = await records.read_document(self.context.blobs, _Left, LEFT)
        except Unreadable as error:
            _log.warn("{error}; its messages are logged once more", error=error)
            return frozenset()
        return frozenset() if document is None else frozenset(document.left)

    async def _remember(self, looked_at: Sequence[Blob], came: Sequence[Adopted]) -> None:
        left = {each.key for each in came if each.outcome is not Result.ADOPTED and each.lasting}
        known = await self._known()
        marks = known | {_mark(blob) for blob in looked_at if blob.key in left}
        if marks != known:
            await records.write_document(
                self.context.blobs, LEFT, _Left(tuple(sorted(marks)[:MOST_REMEMBERED]))
            )


def _names_of(strays: Sequence[Blob]) -> frozenset[ProjectName]:
    """Return the projects of the file names."""
    found = (project_of(blob.key.rpartition("/")[2]) for blob in strays)
    return frozenset(name for name in found if name is not None)


def _mark(blob: Blob) -> str:
    return blake2b(f"{blob.key}\0{blob.etag}".encode(), digest_size=8).hexdigest()


def _say(came: Sequence[Adopted]) -> None:
    """Log one line for each odd file, and a summary."""
    odd = [each for each in came if each.problems]
    for each in odd[:MOST_LINES]:
        say = _log.warn if each.outcome is Result.REFUSED else _log.info
        say(
            "{key} is {outcome}: {why}",
            key=each.key,
            outcome=each.outcome.value,
            why=" ".join(each.problems),
        )
    counts = {result: sum(each.outcome is result for each in came) for result in Result}
    _log.info(
        (
            "adopted the files in the storage: {adopted} files; {refused} are refused, "
            "{left} left alone{more}"
        ),
        adopted=counts[Result.ADOPTED],
        refused=counts[Result.REFUSED],
        left=counts[Result.LEFT],
        more=f"; only {MOST_LINES} of {len(odd)} odd ones are listed here"
        if len(odd) > MOST_LINES
        else "",
    )
