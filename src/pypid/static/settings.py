"""The settings with which static pages are rendered."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from pypid.core.simple_api.entries import quoted


@frozen(kw_only=True)
class StaticSettings:
    """Settings of the pages. `packages_url` is the URL of the folder of all files, absolute or
    relative to a project's page, as in dumb-pypi.
    """

    packages_url: str
    title: str = "My Private PyPI"
    logo: str | None = None
    logo_width: int = 0
    """Pixels; 0: the image's own width."""
    site_url: str | None = None
    """The absolute URL at which the tree will be served; only the feed needs it."""
    generated: datetime | None = None
    """Shown on HTML pages (aware, UTC); None: no page depends on when it was generated."""
    per_release_json: bool = True

    @property
    def files_url(self) -> str:
        """`packages_url` with exactly one ``/`` at its end."""
        return self.packages_url.rstrip("/") + "/"

    def url(self, filename: str) -> str:
        """Return the URL of a file."""
        return self.files_url + quoted(filename)
