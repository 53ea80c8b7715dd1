"""Versions that fix a vulnerability of a version in use may come earlier (`[upstream]
cooldown_fixes`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from itertools import count
from pathlib import Path

from attrs import evolve
from twisted.logger import capturedLogs

from pypid.advisories.database import FILE, AdvisoryDatabase, writing
from pypid.advisories.service import Advisories
from pypid.core.accounts.rights import DownloadEntry
from pypid.core.configuration.choices import Mode
from pypid.core.configuration.values import COOLDOWN
from pypid.core.errors import PeopleUnknown
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import Policy
from pypid.jobs.cooldown_fixes import INTERVAL, CooldownFixes
from tests.jobs.test_cache_maintenance import UpkeepCase
from tests.support.logs import MemoryDownloads
from tests.web.advised import Document, advisory, parsed

NAME = ProjectName("bee")
OLD, FIX, NEXT = ("bee-1.0.tar.gz", "bee-1.1.tar.gz", "bee-1.2.tar.gz")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def policy_with(cooldown: str, fixes: timedelta) -> Policy:
    """Return a policy with this cooldown, without restrictions."""
    return Policy(mode=Mode.CACHE, cooldown=evolve(COOLDOWN.parse(cooldown), fixes=fixes))


class FixesCase(UpkeepCase):
    """An index with a cooldown of two weeks, with the cached file `OLD`; `FIX` and `NEXT` are
    younger than the cooldown.
    """

    def setUp(self) -> None:
        self.policy = policy_with("14d", timedelta(hours=2))
        super().setUp()
        self.downloads = MemoryDownloads()
        self.generations = count(1)
        self.advisories = Advisories(self.world, Path(self.mktemp()))
        assert self.advisories.folder is not None
        self.advisories.folder.mkdir()
        self.upload(OLD, 100 * DAY)
        self.upload(FIX, HOUR)
        self.upload(NEXT, HOUR)
        self.want(OLD)
        self.job = CooldownFixes(self.index, self.advisories, self.downloads)

    def upload(self, filename: str, age: timedelta) -> None:
        """Upload the file upstream, so long ago."""
        self.upstream.has(NAME, filename, b"x" * 100, uploaded=self.world.now() - age)

    def download(self, age: timedelta = DAY) -> None:
        """Record that a client downloaded the old file, so long ago."""
        [file] = self.have(self.index.catalog.upstream.get(NAME)).kept
        self.downloads.note(
            DownloadEntry(
                when=self.world.now() - age,
                sha256=file.sha256,
                project=NAME,
                filename=file.filename,
                who="ada",
            )
        )

    def advise(self, *documents: Document) -> None:
        """Replace the advisories, which begins a search."""
        self.have(self.read(*documents))

    async def read(self, *documents: Document) -> None:
        """Replace the advisories, and search."""
        assert self.advisories.folder is not None
        database = AdvisoryDatabase(self.advisories.folder / FILE)
        with database.replacing() as path, writing(path) as writer:
            writer.put([parsed(document, private=False) for document in documents], private=False)
            writer.put_meta({"generation": str(next(self.generations))})
        await self.advisories.read()
        await self.job.refresh()

    def shown(self) -> list[str]:
        """Return the files on the project page."""
        return [file.filename for file in self.have(self.index.project(NAME)).files]


class CooldownFixesTests(FixesCase):
    """Which versions come earlier, and when."""

    def test_fix_comes_earlier(self) -> None:
        """Only the version that the advisory names comes after `cooldown_fixes`; others wait."""
        self.download()
        self.advise(advisory("PYSEC-1", ("bee", "0", "1.1")))
        self.assertEqual(self.shown(), [OLD])
        self.clock.advance(3601)
        self.assertEqual(self.shown(), [OLD, FIX])
        self.clock.advance(DAY.total_seconds())
        self.assertEqual(self.shown(), [OLD, FIX])

    def test_no_fix_in_use(self) -> None:
        """Nothing comes earlier for a version that nobody downloaded in 90 days, that is not
        vulnerable, or whose advisory was withdrawn.
        """
        self.clock.advance(7200)
        self.download(91 * DAY)
        self.advise(advisory("PYSEC-1", ("bee", "0", "1.1")))
        self.assertEqual(self.shown(), [OLD])
        self.download()
        for document in (
            advisory("PYSEC-1", ("bee", "1.0.1", "1.1")),
            advisory("PYSEC-1", ("ant", "0", "1.1")),
            advisory("PYSEC-1", ("bee", "0", "1.1"), withdrawn="2026-01-01T00:00:00Z"),
            advisory("PYSEC-1", ("bee", "0", None)),
        ):
            self.advise(document)
            self.assertEqual(self.shown(), [OLD], document)

    def test_vulnerable_version_is_no_fix(self) -> None:
        """A version that another advisory names, such as malware, does not come earlier."""
        self.clock.advance(7200)
        self.download()
        fixed = advisory("PYSEC-1", ("bee", "0", "1.1"))
        self.advise(fixed, advisory("MAL-2026-1", ("bee", "1.1", "1.2")))
        self.assertEqual(self.shown(), [OLD])

    def test_in_the_background(self) -> None:
        """The search repeats; a download makes a fix visible, and the log names it once."""
        self.clock.advance(7200)
        self.advise(advisory("PYSEC-1", ("bee", "0", "1.1")))
        self.job.startService()
        self.addCleanup(self.stop_job)
        self.assertEqual(self.shown(), [OLD])
        self.download()
        with capturedLogs() as logs:
            for _ in range(3):
                self.clock.advance(INTERVAL)
        self.assertEqual(self.shown(), [OLD, FIX])
        named = [each for each in logs if each.get("versions") == "1.1"]
        self.assertEqual([each["project"] for each in named], [NAME])

    def stop_job(self) -> None:
        """Stop the job as the daemon does."""

        async def stopped() -> None:
            await self.job.stopService()

        self.have(stopped())

    def test_failure_keeps_the_last_result(self) -> None:
        """While the download log is unavailable, known fixes stay visible."""
        self.clock.advance(7200)
        self.download()
        self.advise(advisory("PYSEC-1", ("bee", "0", "1.1")))

        async def away(digests: Iterable[str], since: object) -> frozenset[str]:
            raise PeopleUnknown("the database of downloads")

        self.patch(self.job, "downloads", MemoryDownloads())
        self.patch(MemoryDownloads, "recent", lambda self, digests, since: away(digests, since))
        self.have(self.job.refresh())
        self.assertEqual(self.shown(), [OLD, FIX])
