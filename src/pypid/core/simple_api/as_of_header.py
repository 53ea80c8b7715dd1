"""The additional information of a Simple API page that shows an as-of view: its time, and what is
unknown of it.
"""

from __future__ import annotations

from datetime import datetime
from html import escape

from attrs import frozen

from pypid.core.records.as_of_time import moment_of


@frozen(kw_only=True)
class AsOfHeader:
    """Information on an as-of view: its time as `moment`; `since` when changes were recorded, if
    later; how many files are `gone` (`history.AsOfState`).
    """

    moment: str
    since: datetime | None = None
    gone: int = 0

    def keys(self) -> dict[str, str | int]:
        """Return the keys for the ``meta`` of JSON, where they begin with ``_``: such keys are the
        index's own (PEP 700).
        """
        keys: dict[str, str | int] = {"moment": self.moment}
        if self.since is not None:
            keys["recorded_since"] = moment_of(self.since).text
        if self.gone:
            keys["deleted_since"] = self.gone
        return keys

    def head(self) -> str:
        """Return the information as HTML ``meta`` elements."""
        named = ((key.replace("_", "-"), escape(str(value))) for key, value in self.keys().items())
        return "".join([f'<meta name="pypid:{key}" content="{value}">\n' for key, value in named])

    def notice(self) -> str:
        """Return the information as an HTML paragraph for users."""
        since = (
            ""
            if self.since is None
            else f" Yanks and deletes are known from {moment_of(self.since).text} on."
        )
        gone = f" Deleted since, and so not here: {self.gone} files." if self.gone else ""
        return f"<p>As of {escape(self.moment)}.{since}{gone}</p>\n"
