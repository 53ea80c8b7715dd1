"""The interface of what is exported: an index as a user sees it, or a list of files."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from attrs import frozen

from pypid.core.errors import StorageDown
from pypid.core.model import File, Project
from pypid.core.packaging.names import ProjectName
from pypid.core.summaries import Summaries
from pypid.export.options import ExportOptions
from pypid.export.targets import Copy
from pypid.export.tree_state import Fingerprint, TreeBasis
from pypid.flow import World
from pypid.ports import Body


@frozen(eq=False)
class ExportView:
    """What was seen at one time. `serial`: the serial of the project list."""

    names: Summaries = Summaries()
    """The visible projects, by name."""
    hidden: int = 0
    """Number of projects that are not visible."""
    serial: int | None = None
    """None: the highest of `names`."""
    fetches: bool = False
    """Whether the user may have pypid fetch from upstream, and so sees what is not stored yet."""


class ExportSource(Protocol):
    """What an export reads."""

    @property
    def world(self) -> World:
        """Threads and clock."""

    async def look(self) -> ExportView:
        """Return what is visible now."""

    def basis(self, options: ExportOptions, look: ExportView) -> TreeBasis:
        """Return everything but the projects that pages depend on."""

    async def serial(self) -> int:
        """Return the serial of the last change."""

    def fingerprint(self, name: ProjectName) -> Fingerprint | None:
        """Return a value that changes whenever `project` may return something else, apart from what
        time changes; None if there is none now. Call it before `project`.
        """

    async def project(self, name: ProjectName) -> tuple[Project, datetime | None] | None:
        """Return the project, if it is on the project list, and when it changes by itself; None if
        it does not exist. Raises `StorageDown`, `NotYetKnown`.
        """

    async def metadata(
        self, project: Project, *, all: bool
    ) -> tuple[dict[str, bytes], StorageDown | None]:
        """Return the stored core metadata by version: of each release, or of the newest one; and
        the error, if some could not be read.
        """

    async def url(self, file: File, lifetime: timedelta) -> str:
        """Return a signed URL of a stored file. Raises `BadRequest` if the storage signs none."""

    async def body(self, copy: Copy) -> Body:
        """Return a part of a file that is to be copied. Raises what the storage raises."""
