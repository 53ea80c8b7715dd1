"""``POST /api/export``: what it takes, and how it tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

from pypid.core.errors import BadRequest
from pypid.core.export_request import Export, ExportedIndex
from tests.web.full_app import WholeCase


async def exported(wanted: Export, heard: Callable[[int, int], None]) -> ExportedIndex:
    """Three projects."""
    for done in range(4):
        heard(done, 3)
    return ExportedIndex(
        target=wanted.target,
        projects=3,
        hidden=1,
        left=0,
        unchanged=1,
        written=9,
        same=2,
        copied=0,
        removed=0,
    )


class ExportTests(WholeCase):
    """What the route takes, and says."""

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[Export] = []

        async def export(wanted: Export, heard: Callable[[int, int], None]) -> ExportedIndex:
            self.asked.append(wanted)
            if "bad" in wanted.target:
                raise BadRequest("There is no room left in /bad.")
            return await exported(wanted, heard)

        self.pypid.app.exports = export

    def test_refused(self) -> None:
        """What cannot be is said, and why."""
        self.refused(self.pypid.api("POST", "/api/export", {"target": "/bad"}), 400, "no room left")
        both = {"target": "/srv", "files_url": "https://f.example/", "signed_links": True}
        self.refused(self.pypid.api("POST", "/api/export", both), 400, "one of the two")
        self.refused(
            self.pypid.api("POST", "/api/export", {"target": "/srv", "files_url": "/x"}),
            400,
            "absolute",
        )
        self.refused(self.pypid.api("POST", "/api/export", {}), 400, "target")
        self.refused(self.pypid.api("POST", "/api/export", {"target": "/srv"}, user="alice"), 403)
        self.pypid.app.exports = None
        self.refused(self.pypid.api("POST", "/api/export", {"target": "/srv"}), 501)
