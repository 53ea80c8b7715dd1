"""The newest version is named, if it is hidden, where clients and their users look for it."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.logger import capturedLogs, formatEvent

from pypid.core.configuration.choices import Mode
from pypid.core.configuration.values import COOLDOWN
from pypid.core.policy import Policy
from pypid.web.ui import documentation
from pypid.web.ui.documentation import Documentation
from tests.distributions import sdist_filename
from tests.support.worlds import BEGINNING
from tests.web.full_app import J
from tests.web.ui.administered import AdministeredCase
from tests.web.ui.test_documentation import built

DAY = timedelta(days=1)
NOTICE = "is hidden"
YOUNG = "it is too young ([upstream] cooldown)"


class NewestHiddenTests(AdministeredCase):
    policy = Policy(
        mode=Mode.CACHE, cooldown=COOLDOWN.parse("0 young=3d old<2=3d dated=2026-01-01")
    )

    def setUp(self) -> None:
        super().setUp()
        self.patch(
            documentation, "DOCUMENTATION", Documentation([built(Path(self.mktemp()) / "docs")])
        )

    def has(self, name: str, version: str, age: timedelta) -> None:
        """Let upstream have a release of this age."""
        self.upstream.has(name, sdist_filename(name, version), b"x", BEGINNING - age)

    def test_pages(self) -> None:
        """All pages of the project name the newest version, and when it is visible."""
        self.has("young", "1.0", 9 * DAY)
        self.has("young", "2.0", DAY)
        self.has("young", "3.0", DAY)
        self.has("young", "4.0rc1", DAY)
        for page in ("", "1.0/", "-/versions"):
            text = self.page(f"/project/young/{page}")
            self.assertIn(f'Version 3.0 {NOTICE} until <time datetime="2026-01-03T', text)
            self.assertIn(f": {YOUNG}. ", text)
            self.assertIn("docs/operate/troubleshooting.html#newest-version", text)
        self.pypid.clock.advance(2 * DAY.total_seconds())
        self.assertNotIn(NOTICE, self.page("/project/young/"))

    def test_log(self) -> None:
        """It is logged once per project and hour."""
        self.has("young", "1.0", DAY)
        with capturedLogs() as events:
            for _ in range(2):
                self.pypid.get("/simple/young/", J)
            first = [formatEvent(each) for each in events if _is_report(each)]
            self.pypid.clock.advance(3600)
            self.pypid.get("/simple/young/", J)
        line = (
            f"the newest version is hidden: {YOUNG} project=young version=1.0 "
            "until=2026-01-03T00:00:00+00:00"
        )
        self.assertEqual(first, [line])
        self.assertEqual(sum(map(_is_report, events)), 2)


def _is_report(event: Mapping[str, Any]) -> bool:
    return str(event["log_format"]).startswith("the newest version is hidden")
