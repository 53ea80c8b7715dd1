"""kill -9 of a pypid that promotes releases of many projects, and what it answers at once after its
start.

The long form is ``PYPID_KILLS=200 .venv/bin/python -m twisted.trial
tests.live.test_promotions_crash``.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import time
from threading import Thread

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from tests.distributions import wheel, wheel_filename
from tests.live.asking import ask, basic
from tests.live.processes import Running, scratch
from tests.live.test_crash_answers import JSON, KILLS, OLD_DUMP, CrashStorm

PROJECTS = [f"storm-{number}" for number in range(12)]
SECTIONS = f"{OLD_DUMP}\n[index:staging]\nbases = none\nwrite = alice\n"
LONGEST = 0.25
"""Seconds after which the process is killed at the latest."""


@define
class PromotionStorm(CrashStorm):
    """One index that is killed while it promotes a release of each project."""

    sections: str = SECTIONS

    def promote(self, version: str) -> int:
        """Promote the release of all projects; return the status."""
        document = {"source": "staging", "releases": [f"{name}=={version}" for name in PROJECTS]}
        path = "/api/indexes/default/promotions"
        return ask(self._port, path, basic("alice"), method="POST", document=document).status

    def promote_and_kill(self, process: Running, version: str) -> None:
        """Kill the process at some moment of the promotion."""

        def promote() -> None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.promote(version)

        asking = Thread(target=promote)
        asking.start()
        time.sleep(self.chance.uniform(0, LONGEST))
        process.process.kill()
        process.process.wait()
        asking.join()

    def listed(self, index: str = "") -> dict[str, set[str]]:
        """Return the file names on each page, in any order of the requests."""
        found = {}
        for name in self.chance.sample(PROJECTS, len(PROJECTS)):
            answer = ask(self._port, f"{index}/simple/{name}/", {**JSON, **basic("alice")})
            files = answer.json["files"] if answer.status == 200 else []
            assert answer.status in (200, 404), (answer.status, answer.body)
            found[name] = {file["filename"] for file in files}
        return found


class PromotionsCrashTests(SynchronousTestCase):
    """The index at the root, and an index staging, over one folder."""

    def test_killed_promotion_is_there_whole_or_not_at_all(self) -> None:
        """The pages that are asked for first after the start agree; then the promotion can be
        repeated, and the source has lost nothing.
        """
        seed = int(os.environ.get("PYPID_STORM_SEED", "0")) or random.randrange(1 << 30)
        with scratch() as folder:
            storm = PromotionStorm(folder, random.Random(seed))
            versions: list[str] = []
            for number in range(KILLS):
                version = f"1.{number}"
                with storm.serving() as process:
                    for name in PROJECTS:
                        filename, data = wheel_filename(name, version), wheel(name, version)
                        answer = storm.publish(name, filename, data, "/staging")
                        self.assertEqual(answer.status, 200, answer.body)
                    before = storm.listed()
                    storm.promote_and_kill(process, version)
                versions.append(version)
                after = {
                    name: {wheel_filename(name, each) for each in versions} for name in PROJECTS
                }
                with storm.serving() as process:
                    listed = storm.listed()
                    self.assertIn(listed, (before, after), seed)
                    self.assertEqual(storm.promote(version), 200, seed)
                    self.assertEqual(storm.listed(), after, seed)
                    self.assertEqual(storm.listed("/staging"), after, seed)
                    process.process.kill()
                    process.process.wait()
