"""Files in the storage without a record that an upstream index lists too: which these are, and
storing them as cached files.

A file that is imported as local makes its project local: no upstream release of it appears any
more. A cached file does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from attrs import frozen

from pypid.core.errors import Archived, Missing
from pypid.core.model import Blob, Digests, File, ListedFile, Listing, Presence, Project
from pypid.core.packaging.names import ProjectName, matches, parse_filename
from pypid.core.packaging.releases import claim_of, computed
from pypid.core.policy import asks_upstream, silence
from pypid.core.records.pypicloud_descriptions import PypicloudDescription
from pypid.flow import shielded
from pypid.index.context import IndexContext, digests_of
from pypid.index.local.adoption import Adopted, Result, project_of
from pypid.index.local.evidence import look
from pypid.index.progress import Progress, Tell, all_of
from pypid.index.upstream.cache_store import CacheStore
from pypid.index.upstream.listings import UpstreamGate

AT_ONCE = 8
"""Projects that are compared at the same time."""
_OTHER = (
    "upstream does not list this file with these bytes. Remove it, or import the project as local."
)
_UNLISTED = "upstream has no such project. Import it as local."


@frozen
class UpstreamMatch:
    """A project that files without a record belong to, and that exists upstream. `same`: the keys
    of files that upstream lists with the same hash; `other`: of all others.
    """

    project: ProjectName
    same: tuple[str, ...]
    other: tuple[str, ...]


@frozen
class UpstreamImport:
    """Compares files without a record with the upstream index.

    Names are looked up in the upstream's list of projects, so a name that is not there is not sent.
    """

    context: IndexContext
    gate: UpstreamGate
    kept: CacheStore
    tell: Tell | None = None

    async def without_releases(self, projects: Iterable[ProjectName]) -> frozenset[ProjectName]:
        """Return those local projects that exist upstream, and whose upstream releases are hidden:
        without those in `[upstream] allow_mixed`. Raises `UpstreamDown`, `BadListing`.
        """
        policy = self.gate.policy
        wanted = (name for name in projects if asks_upstream(policy, name, Presence.ABSENT))
        return await self._listed(
            frozenset(name for name in wanted if not matches(name, policy.allow_mixed))
        )

    async def _listed(self, names: frozenset[ProjectName]) -> frozenset[ProjectName]:
        """Return those of the names that are in the upstream's list of projects."""
        return names.intersection(await self.gate.names(())) if names else names

    async def _not_sent(self, names: Iterable[ProjectName]) -> dict[ProjectName, str]:
        """Return the names whose project pages are not requested from upstream, with the reasons:
        the policy forbids it, or the name is not in the upstream's list of projects.
        """
        reasons: dict[ProjectName, str] = {}
        disclosable: set[ProjectName] = set()
        for name in names:
            why = silence(self.gate.policy, name, await self.context.local_project(name))
            if why is None:
                disclosable.add(name)
            else:
                reasons[name] = f"its project is not compared with upstream: {why.value}."
        unlisted = disclosable - await self._listed(frozenset(disclosable))
        return reasons | dict.fromkeys(unlisted, _UNLISTED)

    async def survey(self, strays: Sequence[Blob]) -> Sequence[UpstreamMatch]:
        """Return the projects that exist upstream, in order. Reads their files. Raises
        `UpstreamDown`, `BadListing`, `StorageDown`.
        """
        by_project = _by_project(strays)
        names = sorted(by_project.keys() - await self._not_sent(by_project))
        progress = Progress(self.context.world.clock, self.tell)
        found: list[UpstreamMatch] = []

        async def compare(name: ProjectName) -> None:
            listing = await self.gate.listed_project(name)
            same: list[str] = []
            other: list[str] = []
            for blob in by_project[name]:
                is_same = await self._source_of(blob, listing) is not None
                (same if is_same else other).append(blob.key)
            found.append(UpstreamMatch(name, tuple(same), tuple(other)))
            progress.at(lambda: f"comparing with upstream: {len(found)} of {len(names)} projects")

        await all_of([partial(compare, name) for name in names], AT_ONCE)
        return sorted(found, key=lambda match: match.project)

    async def store(self, strays: Sequence[Blob]) -> Sequence[Adopted]:
        """Move the files to the cache; return the outcomes in order of their keys. A file that
        upstream does not list with this hash, or whose project must not be sent upstream, stays
        where it is.

        Raises `UpstreamDown`, `BadListing`, `StorageDown`, `StorageFull`; files stored until then
        stay. Runs to its end even if the caller is cancelled.
        """
        return await shielded(self._store_all(_by_project(strays)))

    async def _store_all(
        self, by_project: Mapping[ProjectName, Sequence[Blob]]
    ) -> Sequence[Adopted]:
        progress = Progress(self.context.world.clock, self.tell)
        reasons = await self._not_sent(by_project)
        stored = [
            Adopted(blob.key, Result.REFUSED, (reason,), names=frozenset({name}))
            for name, reason in reasons.items()
            for blob in by_project[name]
        ]

        async def store(name: ProjectName) -> None:
            listing = await self.gate.listed_project(name)
            for blob in by_project[name]:
                stored.append(await self._store(blob, name, listing))
                progress.at(lambda: f"storing cached files: {len(stored)}")

        await all_of([partial(store, name) for name in by_project if name not in reasons], AT_ONCE)
        return sorted(stored, key=lambda one: one.key)

    async def _store(self, blob: Blob, name: ProjectName, listing: Listing) -> Adopted:
        filename = blob.key.rpartition("/")[2]
        names = frozenset({name})
        refused = partial(Adopted, blob.key, Result.REFUSED, names=names)
        async with self.context.places.hold(f"{name}/{filename}"):
            if isinstance(await self.context.local_project(name), Project):
                return refused(("its project is local: a file of it cannot be cached.",))
            source = await self._source_of(blob, listing)
            if source is None:
                return refused((_OTHER,))
            distribution = parse_filename(filename)
            evidence = await look(self.context, blob, distribution, PypicloudDescription())
            if evidence is None:
                return refused(("it changed while it was read: import it again.",))
            described = evidence.inside.metadata if filename.endswith(".whl") else None

            async def metadata() -> bytes | None:
                return described

            await self.kept.keep(
                source,
                evidence.digests,
                partial(self.context.blobs.read, blob.key),
                metadata,
            )
            await self.context.blobs.delete(blob.key)
        return Adopted(blob.key, Result.CACHED, names=names)

    async def _source_of(self, blob: Blob, listing: Listing) -> ListedFile | None:
        """Return the upstream file that has these very bytes; None if there is none, or upstream
        gives no hash of it.
        """
        filename = blob.key.rpartition("/")[2]
        files = (file for file in listing.files or () if file.filename == filename)
        source = next(files, None)
        if source is None or source.size not in (None, blob.size):
            return None
        try:
            digests = await digests_of(self.context, blob.key)
        except (Missing, Archived):
            return None
        return source if _has_bytes(source, digests) else None


def _by_project(strays: Iterable[Blob]) -> dict[ProjectName, list[Blob]]:
    found: dict[ProjectName, list[Blob]] = {}
    for blob in sorted(strays, key=lambda blob: blob.key):
        name = project_of(blob.key.rpartition("/")[2])
        if name is not None:
            found.setdefault(name, []).append(blob)
    return found


def _has_bytes(source: File, digests: Digests) -> bool:
    """Return whether upstream lists the file with these hashes."""
    claim = claim_of(source)
    return claim is not None and computed(digests, claim.algorithm) == claim.hexdigest
