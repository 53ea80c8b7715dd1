"""Twenty projects in a stage: uploaded with twine and uv, tested with pip and uv, and published
together; and kill -9 of a pypid that publishes a stage.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import time
from collections.abc import Mapping
from contextlib import suppress as ignoring
from pathlib import Path
from threading import Event, Thread
from typing import Any

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from tests.distributions import wheel as wheel_bytes
from tests.distributions import wheel_filename
from tests.live.asking import Answered, ask, basic, command
from tests.live.clients import client
from tests.live.daemon import IndexTestCase, LiveIndex, Settings, pypid
from tests.live.isolation import fails, pip, uv, works
from tests.live.processes import Running, scratch
from tests.live.projects import wheel
from tests.live.test_crash_answers import JSON, KILLS, OLD_DUMP, CrashStorm
from tests.live.test_index_clients import TWINE, UV
from tests.live.test_install import NEWEST, installed

PROJECTS = [f"staged{number}" for number in range(20)]
LONGEST = 0.25
"""Seconds after which the process is killed at the latest."""


class StageClientTests(IndexTestCase):
    """A pypid of its own, with a stage of alice's."""

    def start(self) -> LiveIndex:
        folder = self.folder / "pypid"
        folder.mkdir()
        return self.entered(pypid(folder, Settings()))

    def install(self, line: list[str | Path], target: str) -> set[str]:
        """Install all projects; the releases that were installed."""
        works([*line, "--no-deps", "--target", self.folder / target, *PROJECTS], self.folder)
        return installed(self.folder / target)

    def listed(self) -> Mapping[str, int]:
        """The projects of the stage that the list has, with their serials."""
        headers = {"Accept": "application/vnd.pypi.simple.v1+json"}
        document: Mapping[str, Any] = ask(self.index.port, "/simple/", headers).json
        serials = {each["name"]: each["_last-serial"] for each in document["projects"]}
        return {name: serials[name] for name in PROJECTS if name in serials}

    def test_published_together(self) -> None:
        """The stage shows what was uploaded to it; the list of the base has all of it from one
        serial on, and no list has a part of it.
        """
        made = json.loads(
            command(self.index.config, "stage", "create", "--user", "alice", "--json")
        )
        name, upload = made["name"], made["upload"]
        stage = self.index.url(f"/{name}/simple/", "alice")
        files = [wheel(project).into(self.folder / "dist") for project in PROJECTS]
        line = [client("twine"), "upload", "--repository-url", upload, *files[:10]]
        works(line, self.folder, **TWINE)
        works([client("uv"), "publish", "--publish-url", upload, *files[10:]], self.folder, **UV)
        expected = {f"{project}-1.0" for project in PROJECTS}
        self.assertEqual(self.install(pip(NEWEST, "install", stage), "pip"), expected)
        self.assertEqual(self.install(uv(stage), "uv"), expected)
        bare = [*uv(self.index.url(f"/{name}/simple/")), "--target", self.folder / "none"]
        fails([*bare, PROJECTS[0]], self.folder)
        self.assertEqual(self.listed(), {})
        seen: list[Mapping[str, int]] = []
        ended = Event()
        watching = Thread(target=lambda: self.watch(seen, ended))
        watching.start()
        done = json.loads(command(self.index.config, "stage", "publish", name, "--json"))
        ended.set()
        watching.join()
        self.assertEqual(sorted(done["files"]), sorted(PROJECTS))
        self.assertEqual(set(self.listed()), set(PROJECTS))
        self.assertEqual(len(set(self.listed().values())), 1)
        self.assertEqual({len(found) for found in seen} - {0, len(PROJECTS)}, set())
        self.assertEqual(self.install(uv(self.index.url()), "default"), expected)
        late = [client("twine"), "upload", "--repository-url", upload]
        more = wheel("late").into(self.folder / "late")
        self.assertIn("409", fails([*late, more], self.folder, **TWINE))
        command(self.index.config, "stage", "delete", name)
        self.assertEqual(set(self.listed()), set(PROJECTS))

    def watch(self, seen: list[Mapping[str, int]], ended: Event) -> None:
        """Request the list again and again."""
        while not ended.is_set():
            seen.append(self.listed())


@define
class StageStorm(CrashStorm):
    """One index that is killed while it publishes a stage."""

    sections: str = OLD_DUMP

    def request(self, path: str, document: Any = None) -> Answered:
        """Send a POST request of alice's."""
        return ask(self._port, path, basic("alice"), method="POST", document=document)

    def publish_and_kill(self, process: Running, stage: str) -> None:
        """Kill the process at some moment of the publication."""

        def publish() -> None:
            with ignoring(OSError, http.client.HTTPException):
                self.request(f"/api/stages/{stage}/publish")

        asking = Thread(target=publish)
        asking.start()
        time.sleep(self.chance.uniform(0, LONGEST))
        process.process.kill()
        process.process.wait()
        asking.join()

    def listed(self) -> set[str]:
        """Return the names of all files, in any order of the requests."""
        found = set[str]()
        for name in self.chance.sample(PROJECTS, len(PROJECTS)):
            answer = ask(self._port, f"/simple/{name}/", {**JSON, **basic("alice")})
            assert answer.status in (200, 404), (answer.status, answer.body)
            files = answer.json["files"] if answer.status == 200 else []
            found |= {file["filename"] for file in files}
        return found


class StageCrashTests(SynchronousTestCase):
    def test_killed_publication_is_there_whole_or_not_at_all(self) -> None:
        """The pages that are requested first after the start agree, and the publication can be
        repeated.
        """
        seed = int(os.environ.get("PYPID_STORM_SEED", "0")) or random.randrange(1 << 30)
        with scratch() as folder:
            storm = StageStorm(folder, random.Random(seed))
            for number in range(KILLS):
                version = f"1.{number}"
                new = {wheel_filename(name, version) for name in PROJECTS}
                with storm.serving() as process:
                    stage = storm.request("/api/stages", {"name": str(number)}).json["name"]
                    for name in PROJECTS:
                        filename, data = wheel_filename(name, version), wheel_bytes(name, version)
                        answer = storm.publish(name, filename, data, f"/{stage}")
                        self.assertEqual(answer.status, 200, answer.body)
                    before = storm.listed()
                    storm.publish_and_kill(process, stage)
                with storm.serving() as process:
                    self.assertIn(storm.listed(), (before, before | new), seed)
                    answer = storm.request(f"/api/stages/{stage}/publish")
                    self.assertEqual(answer.status, 200, (seed, answer.body))
                    self.assertEqual(storm.listed(), before | new, seed)
                    process.process.kill()
                    process.process.wait()
