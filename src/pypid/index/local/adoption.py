"""Adoption: publish files that are already in the storage, in place, by writing their records.

For folders made by ``pip download`` or kept for another index, for what a pypicloud left, and for
files that were copied into the storage by hand. The administrator vouches for them: a file that is
odd but can be served is adopted, and every oddity is reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from functools import partial
from hashlib import blake2b

from attrs import evolve, frozen
from twisted.logger import Logger

from pypid.core.errors import (
    AlreadyExists,
    Archived,
    BadFilename,
    BadName,
    Exists,
    Missing,
    StorageDown,
    Unreadable,
)
from pypid.core.model import Blob, Project, StoredFile
from pypid.core.packaging.core_metadata import CoreMetadata, read_metadata
from pypid.core.packaging.names import (
    Distribution,
    ProjectName,
    parse_filename,
    project_and_version,
    project_name,
    same_version,
)
from pypid.core.packaging.upload import contradictions, served_metadata
from pypid.core.records.documents import Document, ProjectStatus
from pypid.core.records.layout import LEFT, ObjectKind, by_precedence, key, listed_as
from pypid.core.records.pypicloud_descriptions import PypicloudDescription
from pypid.flow import BytesBody, shielded
from pypid.index.context import IndexContext, Pace
from pypid.index.local.evidence import Evidence, described, digest, look
from pypid.index.local.publish import UNDER_WAY, commit
from pypid.index.progress import Progress, Tell, all_of
from pypid.index.store import records
from pypid.index.store.reconcile import Reconciled

BROKE_OFF = (
    "its upload broke off and was never acknowledged: publish it again, or remove it. To adopt it "
    "all the same, remove its mark (chmod -t) before."
)
AT_ONCE = 16
"""Files inspected and adopted at the same time: a bucket answers each request after a while."""


class Result(Enum):
    """The outcome for a file that had no record. `CACHED`: it is now a cached file of the upstream
    index. `LEFT` loses nothing: the file's bytes are served
    anyway, or it never belonged to an index.
    """

    ADOPTED = "adopted"
    CACHED = "cached"
    REFUSED = "refused"
    LEFT = "left"


@frozen
class Adopted:
    """One file: its key, its outcome, and all that is odd about it.

    `lasting`: the outcome will be the same next time. `names`: the projects that it belongs to, or
    was listed under; `uploader`: who published it, if that is known.
    """

    key: str
    outcome: Result
    problems: tuple[str, ...] = ()
    lasting: bool = True
    names: frozenset[ProjectName] = frozenset()
    uploader: str | None = None


@frozen
class Adopter:
    """Adopts files in the storage."""

    context: IndexContext
    tell: Tell | None = None
    """Notified of the progress, like the log."""
    bare: frozenset[ProjectName] = frozenset()
    """Projects with nothing in the storage but these strays: a listing has shown it, and no publish
    is possible yet, so lookups that would find nothing are skipped. They become visible with their
    last file (`IndexContext.being_adopted`).
    """

    async def adopt(self, strays: Iterable[Blob], by: str | None) -> Sequence[Adopted]:
        """Adopt each of `strays`; return the outcomes in order of their keys. `by` is the uploader
        of files that have none recorded.

        Raises `StorageDown`, `StorageFull`; files adopted until then stay. Runs to its end even if
        the caller is cancelled.
        """
        return await shielded(self._adopt_all(list(strays), by))

    async def _adopt_all(self, strays: Sequence[Blob], by: str | None) -> Sequence[Adopted]:
        progress = Progress(self.context.world.clock, self.tell)
        claims, awaited = await self.context.world.thinking(
            _claims, strays
        )  # there may be many thousands of names
        adopted: list[Adopted] = []

        async def adopt_name(filename: str, claimed: Mapping[str, Blob]) -> None:
            for where in self._by_precedence(claimed):
                came = await self._adopt(claimed[where], by)
                if came is not None:
                    adopted.append(came)
                progress.at(lambda: f"taking in files: {len(adopted)} of {len(strays)}")
            project = project_of(filename)
            awaited[project] -= 1
            if project is not None and not awaited[project]:
                self.context.being_adopted.discard(project)

        await all_of(
            [partial(adopt_name, filename, claimed) for filename, claimed in claims.items()],
            AT_ONCE,
        )
        return sorted(adopted, key=lambda came: came.key)

    def _by_precedence(self, keys: Iterable[str]) -> Sequence[str]:
        """Return the keys that claim one file name in the order in which they are adopted."""
        if not self.context.adopts:
            return sorted(keys)
        return by_precedence(keys, is_bucket=self.context.describing is not None)

    async def _adopt(self, blob: Blob, by: str | None) -> Adopted | None:
        """Adopt one file and return its outcome; None if it has been published since it was
        listed.
        """
        try:
            distribution = parse_filename(blob.key.rpartition("/")[2])
        except BadFilename as error:
            return Adopted(blob.key, Result.REFUSED, (str(error),))
        names = frozenset({distribution.project})
        async with self.context.places.hold(f"{distribution.project}/{distribution.filename}"):
            is_bare = distribution.project in self.bare
            get = self.context.catalog.local.get if is_bare else self.context.local_project
            ours = await get(distribution.project)
            older = ours.file(distribution.filename) if isinstance(ours, Project) else None
            if older is not None and older.key == blob.key:
                return None
            try:
                refused = await self._refused(blob, distribution, older)
                came = refused or await self._looked_at(blob, distribution, by)
                return evolve(came, names=came.names | names)
            except Missing:
                problem = "it is gone again."
            except Archived:
                problem = "it is in an archive: restore it, then adopt it."
            except StorageDown as error:
                # of this file only: if the storage is down, the writes fail as well
                problem = f"it cannot be read. {error}"
            return Adopted(blob.key, Result.REFUSED, (problem,), lasting=False, names=names)

    async def _refused(
        self, blob: Blob, distribution: Distribution, older: StoredFile | None
    ) -> Adopted | None:
        """Return the refusal if the file need not even be read; None if it has to be."""
        project, filename = distribution.project, distribution.filename
        is_young = blob.is_younger(UNDER_WAY, self.context.world.now())
        if is_young and self.context.others_write and not self.context.is_sole:
            problem = (
                "it may belong to a publish under way on another node: adopt it when it is 15 "
                "minutes old."
            )
            return Adopted(blob.key, Result.REFUSED, (problem,), lasting=False)
        if older is not None:
            return await self._second(blob, older)
        if blob.provisional:
            return Adopted(blob.key, Result.REFUSED, (BROKE_OFF,), lasting=False)
        if project in self.bare:
            return None
        if await records.tombstone(self.context.blobs, project, filename) is not None:
            problem = (
                "a file of this name was published here and deleted; its name cannot come back "
                "this way."
            )
            return Adopted(blob.key, Result.REFUSED, (problem,))
        with suppress(Missing):
            await self.context.blobs.stat(key(project, filename, ObjectKind.RECORD))
            problem = (
                "a record of this name exists that matches no content; `pypid storage check` says "
                "what to do."
            )
            return Adopted(blob.key, Result.REFUSED, (problem,), lasting=False)
        return None

    async def _second(self, blob: Blob, older: StoredFile) -> Adopted:
        """Return the outcome for a file whose name is published already."""
        if blob.size == older.size and await digest(self.context, blob) == older.sha256:
            problem = f"the same bytes are served from {older.key!r}: this copy may be removed."
            return Adopted(blob.key, Result.LEFT, (problem,))
        problem = (
            f"a file of this name is published already, from {older.key!r}; remove one of them."
        )
        return Adopted(blob.key, Result.REFUSED, (problem,))

    async def _looked_at(self, blob: Blob, distribution: Distribution, by: str | None) -> Adopted:
        """Read the file and adopt it. Raises `Missing`, `Archived`, `StorageDown`."""
        description = await described(self.context, blob)
        other = _other_name(description, distribution)
        if other is not None:
            problem = (
                f"pypicloud listed it as a file of {other!r}, its name is of "
                f"{distribution.project!r}, and installers go by "
                "the name: publish it again under its right one."
            )
            return Adopted(
                blob.key, Result.REFUSED, (problem, *description.odd), names=frozenset({other})
            )
        found = await look(self.context, blob, distribution, description)
        if found is None:
            problem = "it changed while it was read: adopt it again when it is complete."
            return Adopted(blob.key, Result.REFUSED, (problem,), lasting=False)
        came = await self._take_in(found, distribution, description, by)
        version = _other_version(description, distribution)
        return evolve(
            came,
            problems=(*came.problems, *description.odd, *version),
            uploader=description.uploader,
        )

    async def _take_in(
        self,
        found: Evidence,
        distribution: Distribution,
        description: PypicloudDescription,
        by: str | None,
    ) -> Adopted:
        where, inside = found.blob.key, found.inside
        metadata = CoreMetadata()
        if inside.metadata is not None:
            metadata = await self.context.world.thinking(read_metadata, inside.metadata)
        problems = (*inside.problems, *metadata.problems)
        wrong = contradictions(distribution, metadata)
        if found.is_read and inside.metadata is None:
            wrong = inside.problems or ("it has no metadata.",)
            problems = metadata.problems
        served: bytes | None = None
        oddity: tuple[str, ...] = ()
        if wrong and not self._is_lenient(found, description):
            return Adopted(where, Result.REFUSED, (*wrong, *problems))
        if wrong:
            problems = (
                *wrong,
                *problems,
                "It is served as pypicloud did it, without core metadata (PEP 658).",
            )
        elif inside.metadata is not None:
            served, oddity = await self._served(distribution, inside.metadata)
        file = _file_of(found, distribution, metadata, description, served, by)
        try:
            await commit(self.context, file, is_new=distribution.project in self.bare)
        except AlreadyExists as error:
            return Adopted(where, Result.REFUSED, (str(error),), lasting=False)
        return Adopted(where, Result.ADOPTED, (*problems, *oddity))

    def _is_lenient(self, found: Evidence, description: PypicloudDescription) -> bool:
        """Return whether a file that cannot be installed well is served anyway: a pypicloud served
        it, and clients may rely on it.

        Never for bytes that are not those that were uploaded.
        """
        return (
            self.context.adopts
            and description.sha256 in (None, found.digests.sha256)
            and found.blob.size > 0
        )

    async def _served(
        self, distribution: Distribution, metadata: bytes
    ) -> tuple[bytes | None, tuple[str, ...]]:
        """Write the metadata beside the file; return what is served, and what is odd about it. A
        different document that is already there stays.
        """
        served = await self.context.world.thinking(served_metadata, distribution, metadata)
        if served is None:
            return None, ()
        where = key(distribution.project, distribution.filename, ObjectKind.METADATA)
        try:
            await self.context.blobs.write(where, BytesBody(served))
        except Exists:
            try:
                there = await records.read_bytes(self.context.blobs, where)
            except Unreadable:
                there = None
            if there != served:
                return None, (
                    (
                        f"{where} is there and is not the metadata in the file, so none is served "
                        f"(installers then open the file)."
                    ),
                )
        return served, ()


def _claims(
    strays: Sequence[Blob],
) -> tuple[dict[str, dict[str, Blob]], Counter[ProjectName | None]]:
    """Return the strays by file name and key, in order of their keys; and the number of file names
    of each project.
    """
    claims: dict[str, dict[str, Blob]] = {}
    for blob in sorted(strays, key=lambda blob: blob.key):
        claims.setdefault(blob.key.rpartition("/")[2], {})[blob.key] = blob
    return claims, Counter(map(project_of, claims))


def project_of(filename: str) -> ProjectName | None:
    """Return the project of a distribution with this file name; None if the name is invalid."""
    try:
        return project_and_version(filename)[0]
    except BadFilename:
        return None


def _other_name(
    description: PypicloudDescription, distribution: Distribution
) -> ProjectName | None:
    """Return the project under which a pypicloud listed the file, if it is not the one in the file
    name.
    """
    try:
        name = None if description.name is None else project_name(description.name)
    except BadName:
        return None
    return None if name == distribution.project else name


def _other_version(
    description: PypicloudDescription, distribution: Distribution
) -> tuple[str, ...]:
    """Return the problem to report if a pypicloud listed the file as another version than its name
    says.
    """
    if description.version is None or same_version(description.version, distribution.version):
        return ()
    return (
        (
            f"pypicloud listed it as version {description.version!r}; its name says "
            f"{distribution.version}."
        ),
    )


def _file_of(
    found: Evidence,
    distribution: Distribution,
    metadata: CoreMetadata,
    description: PypicloudDescription,
    served: bytes | None,
    by: str | None,
) -> StoredFile:
    """Return the file that the bytes become, in place, with their own age. The file's own metadata
    takes precedence: what a pypicloud wrote down may have lost characters.
    """
    is_right = not contradictions(distribution, metadata)
    return StoredFile(
        project=distribution.project,
        filename=distribution.filename,
        version=(metadata.version if is_right else None) or distribution.version,
        sha256=found.digests.sha256,
        md5=found.digests.md5,
        blake2b_256=found.digests.blake2b_256,
        size=found.digests.size,
        uploaded=found.blob.modified,
        requires_python=metadata.requires_python or description.requires_python,
        metadata_sha256=records.sha256_of(served),
        key=found.blob.key,
        uploader=description.uploader or by,
        summary=metadata.summary or description.summary,
    )


# Adoption of what a pypicloud left in the storage, in place: everything at the first start, later
# only what is new.
#
# Until it is complete, an unknown name is not proven absent, and is not looked up upstream
# (`IndexContext.is_taking_over`). Each file that is not adopted is reported once; its name stays
# local, since pypicloud served it as such.

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


class _Left(Document, frozen=True):
    """Document: the files that were not adopted, each as a hash of its key and its ETag."""

    left: tuple[str, ...] = ()


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
