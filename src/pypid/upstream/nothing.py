"""No other index: `[upstream] mode = offline`."""

from __future__ import annotations

from attrs import frozen

from pypid.core.model import Project
from pypid.core.names import ProjectName
from pypid.ports import Upstream


@frozen
class Nothing:
    """An upstream that has no projects, and is never asked over the network."""

    async def project(self, name: ProjectName) -> Project | None:
        """Always None."""
        return None


_: type[Upstream] = Nothing
