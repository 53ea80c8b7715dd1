"""What the pages of a list are made with."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from pypid.core.simple_api.render import quoted


@frozen(kw_only=True)
class StaticSettings:
    """`packages_url` is where all files lie, absolute or relative to a project's page, as dumb-pypi
    has it.
    """

    packages_url: str
    title: str = "My Private PyPI"
    logo: str | None = None
    logo_width: int = 0
    """Pixels; 0: as wide as it is."""
    site_url: str | None = None
    """Where the tree will be served, absolute; only the feed needs to know."""
    generated: datetime | None = None
    """Said on pages for people (aware, UTC); None: nothing depends on when they were made."""
    per_release_json: bool = True

    @property
    def files_url(self) -> str:
        """With its last ``/``."""
        return self.packages_url.rstrip("/") + "/"

    def url(self, filename: str) -> str:
        """Where a file lies."""
        return self.files_url + quoted(filename)
