"""The publishers that attested local files, read from their stored provenance: what the rule
``require`` of a named index looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from attrs import define, field

from pypid.core.errors import Unreadable
from pypid.core.layering import attested_files, origin_of, relative, trusted
from pypid.core.lru import Recent
from pypid.core.model import StoredFile, any_attested
from pypid.core.records.layout import ObjectKind, sidecar_key
from pypid.flow import World
from pypid.index.job_group import all_of
from pypid.index.single_index import SingleIndex
from pypid.index.store.records import read_bytes
from pypid.index.views import View
from pypid.ports import Blobs

AT_ONCE = 20
"""Number of provenance objects that are read at a time."""
MOST_FILES = 20_000
"""Maximum number of files of one index whose publishers are cached."""

_Identity = tuple[str, str, datetime | None]
"""Key, SHA-256 and upload time of a file: what changes when its provenance is replaced."""


def _identity(file: StoredFile) -> _Identity:
    return (file.key, file.sha256, file.uploaded)


@define(eq=False)
class LocalPublishers:
    """Reads the publishers of local files, whose attestations were verified at the upload. `find`
    returns the index of a name.
    """

    find: Callable[[str], SingleIndex | None]
    world: World
    _known: Recent[_Identity, frozenset[str]] = field(
        factory=lambda: Recent(MOST_FILES, MOST_FILES), init=False, repr=False
    )

    async def trusted(self, view: View, required: Sequence[str]) -> tuple[View, bool]:
        """Return the view without the files that no publisher of `required` has attested, and
        whether the publishers of all files are known. Upstream is not asked. Raises `StorageDown`:
        without its publishers it is not known whether to show a file.
        """
        files = attested_files(view.project)
        publishers = {file.filename: self._known.get(_identity(file)) for file in files}
        missing = [file for file in files if publishers[file.filename] is None]
        found = await all_of([partial(self._read, file) for file in missing], AT_ONCE)
        for file, each in zip(missing, found, strict=True):
            publishers[file.filename] = each
            if each:
                self._known.put(_identity(file), each)
        project = trusted(view.project, required, publishers)
        edition = (view.edition, required, frozenset(file.filename for file in project.files))
        return View(project, edition, any_attested(project.files)), all(publishers.values())

    async def _read(self, file: StoredFile) -> frozenset[str]:
        """Return the publishers of the file; none if its provenance is damaged or missing."""
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
