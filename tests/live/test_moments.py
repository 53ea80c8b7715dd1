"""The index as of a moment, with real clients: what pip and uv install by it is the same on every
later day.
"""

# trial is not annotated
# mypy: allow-untyped-calls

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.live.daemon import LiveIndex
from tests.live.isolation import fails, pip, uv, works
from tests.live.processes import BIN
from tests.live.projects import call, manage, publish, wheel
from tests.live.upstreams import FrontedCase

NEWEST: Final = "pip-on-3.11"
THEN: Final = "/at/2024-03-01/simple/"
J: Final = "application/vnd.pypi.simple.v1+json"


class MomentTests(FrontedCase):
    """A pypid with files of February 2024, and of now, before an index that has such."""

    async def history(self) -> LiveIndex:
        """Ours in 1.0 and 1.1, of February 2024; 1.2 of now. Theirs in 1.0 of January 2024 and 2.0
        of June.
        """
        self.upstream_has("mo-theirs", wheel("mo-theirs"), wheel("mo-theirs", "2.0"))
        for entry, day in zip(self._listed["mo-theirs"], ("2024-01-15", "2024-06-15"), strict=True):
            entry["upload-time"] = f"{day}T12:00:00Z"
        self.upstream_has("mo-theirs")
        index = await self.index("mode = cache\nttl = 1s")
        for number, version in enumerate(("1.0", "1.1")):
            artifact = wheel("mo-ours", version, extra=[("Requires-Dist", "mo-theirs")])
            path = artifact.into(index.storage / "mo-ours")
            seconds = datetime(2024, 2, 1 + number, tzinfo=UTC).timestamp()
            os.utime(path, (seconds, seconds))
        await self.run_(self.pypid, index, "storage", "rebuild", "mo-ours")
        await self.run_(
            publish, index, wheel("mo-ours", "1.2", extra=[("Requires-Dist", "mo-theirs")])
        )
        return index

    def pypid(self, index: LiveIndex, *words: str) -> str:
        """What a command says."""
        return works([BIN / "pypid", *words, "--config", index.config], self.folder)

    def installs(self, index: LiveIndex, path: str, folder: str) -> dict[str, list[str]]:
        """What pip, an old pip and uv install from there."""
        found = {}
        url = index.url(path)
        for name, command in (("pip", pip(NEWEST, "install", url)), ("uv", uv(url, "--no-cache"))):
            target = Path(self.folder) / folder / name
            works([*command, "--target", target, "mo-ours"], self.folder)
            found[name] = sorted(each.name for each in target.glob("*.dist-info"))
        return found

    def each(self, ours: str, theirs: str) -> dict[str, list[str]]:
        """These versions by all of them."""
        return {
            name: [f"mo_ours-{ours}.dist-info", f"mo_theirs-{theirs}.dist-info"]
            for name in ("pip", "uv")
        }

    async def test_same_on_every_later_day(self) -> None:
        """What was yanked, published, or taken away upstream since changes nothing at the moment;
        /simple/ follows it all.
        """
        index = await self.history()
        self.assertEqual(
            await self.run_(self.installs, index, THEN, "before"), self.each("1.1", "1.0")
        )
        self.assertEqual(
            await self.run_(self.installs, index, "/simple/", "now"), self.each("1.2", "2.0")
        )
        newest = wheel("mo-ours", "1.1").filename
        await self.run_(manage, index, "PUT", f"mo-ours/files/{newest}/yank", reason="broken")
        await self.run_(
            publish, index, wheel("mo-ours", "1.3", extra=[("Requires-Dist", "mo-theirs")])
        )
        self._listed["mo-theirs"][0]["yanked"] = "theirs is broken, too"
        del self._listed["mo-theirs"][1]
        self.upstream_has("mo-theirs", wheel("mo-theirs", "3.0"))
        self._listed["mo-theirs"][1]["upload-time"] = "2024-07-01T00:00:00Z"
        self.upstream_has("mo-theirs")
        await self.pause(1.2)  # then upstream is asked again
        self.assertEqual(
            await self.run_(self.installs, index, THEN, "after"), self.each("1.1", "1.0")
        )
        self.assertEqual(
            await self.run_(self.installs, index, "/simple/", "later"), self.each("1.3", "3.0")
        )
        # 2.0 is gone upstream, and was kept: it is at its moment, and nowhere else
        self.assertEqual(
            await self.run_(self.installs, index, "/at/2024-06-20/simple/", "june"),
            self.each("1.1", "2.0"),
        )
        page = json.loads(
            await self.run_(call, index, "GET", "/at/2024-06-20/simple/mo-theirs/", accept=J)
        )
        self.assertIn("_recorded-since", page["meta"])
        await self.run_(
            fails,
            pip(NEWEST, "install", index.url("/at/2024-01-01/simple/"), "mo-ours"),
            self.folder,
        )
