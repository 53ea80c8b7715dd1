"""The publishers that attested local files, read from their stored provenance: what the rule
``require`` of a named index looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from attrs import define, evolve, field

from pypid.core.errors import Unreadable
from pypid.core.indexes import IndexSettings
from pypid.core.layering import attested_files, origin_of, relative, required_of, trusted
from pypid.core.lru import Recent
from pypid.core.model import StoredFile, any_attested
from pypid.core.records.layout import ObjectKind, sidecar_key
from pypid.flow import World
from pypid.index.job_group import all_of
from pypid.index.single_index import SingleIndex
from pypid.index.store.records import read_bytes
from pypid.index.views import View, ViewSources
from pypid.ports import Blobs

AT_ONCE = 20
"""Number of provenance objects that are read at a time."""
MOST_FILES = 20_000
"""Maximum number of files of one index whose publishers are cached."""


@define(eq=False)
class LocalPublishers:
    """Reads the publishers of local files, whose attestations were verified at the upload. `find`
    returns the index of a name.
    """

    find: Callable[[str], SingleIndex | None]
    world: World
    _known: Recent[tuple[str, str], frozenset[str]] = field(
        factory=lambda: Recent(MOST_FILES, MOST_FILES), init=False, repr=False
    )

    async def trusted(self, found: ViewSources, settings: IndexSettings) -> ViewSources:
        """Return the view without the files that ``require`` of the index hides. Upstream is not
        asked. Raises `StorageDown`: without its publishers it is not known whether to show a file.
        """
        view = found.view
        required = required_of(settings, view.project.name)
        if not required:
            return found
        publishers = await self._publishers(attested_files(view.project))
        project = trusted(view.project, required, publishers)
        edition = (view.edition, required, frozenset(file.filename for file in project.files))
        return evolve(
            found,
            view=View(project, edition, any_attested(project.files)),
            restricted_by=(*found.restricted_by, settings),
        )

    async def _publishers(self, files: tuple[StoredFile, ...]) -> Mapping[str, frozenset[str]]:
        reading = [partial(self._of, file) for file in files]
        found = await all_of(reading, AT_ONCE)
        return {file.filename: each for file, each in zip(files, found, strict=True)}

    async def _of(self, file: StoredFile) -> frozenset[str]:
        """Return the publishers of the file; none if its provenance is damaged or missing."""
        key = (file.key, file.sha256)
        known = self._known.get(key)
        if known is None:
            known = await self._read(file)
            if known:
                self._known.put(key, known)
        return known

    async def _read(self, file: StoredFile) -> frozenset[str]:
        home = self.find(origin_of(file.key))
        if home is None:
            return frozenset()
        return await publishers_of(home.blobs, relative(file, home.prefix), self.world)


async def publishers_of(blobs: Blobs, file: StoredFile, world: World) -> frozenset[str]:
    """Return the publishers that attested a local file; none if its provenance is damaged or
    missing. `blobs` is the part of the storage to which the key of the file is relative. Raises
    `StorageDown`.
    """
    from pypid.core.accounts.signers import claimed_publishers  # not needed at start-up

    try:
        data = await read_bytes(blobs, sidecar_key(file, ObjectKind.PROVENANCE))
        return frozenset() if data is None else await world.thinking(claimed_publishers, data)
    except (Unreadable, ValueError, RecursionError):
        return frozenset()
