"""What is kept of another pypid's files, really: how much of the disk it takes, what goes, and what
a mirror does by itself.
"""

import contextlib
import http.client
import json
import os
import time
from collections.abc import Callable
from hashlib import sha256, shake_128
from pathlib import Path
from typing import Any

from tests.live.daemon import IndexTestCase, LiveIndex, Settings, pypid, stop
from tests.live.isolation import fails, pip, works
from tests.live.processes import BIN, files_below, scratch
from tests.live.projects import Artifact, call, listed, publish, wheel
from tests.live.test_install import NEWEST, installed

KIB, MIB = 1 << 10, 1 << 20


def large(name: str, version: str = "1.0", size: int = 200 * KIB) -> Artifact:
    """A wheel with so many bytes that no zip makes smaller."""
    seed = f"{name} {version}".encode()
    return wheel(
        name,
        version,
        tag="py3-none-any",
        files={f"{name.replace('-', '_')}.bin": shake_128(seed).digest(size)},
    )


class CacheCase(IndexTestCase):
    """A pypid in front of another one, of which both can be stopped."""

    lines = "mode = cache"

    def start(self) -> LiveIndex:
        self.theirs = self.entered(pypid(self.entered(scratch()), Settings()))
        self.place = self.entered(scratch())
        self.settings = Settings(upstream=f"{self.lines}\nurl = {self.theirs.url()}")
        return self.entered(pypid(self.place, self.settings))

    def command(self, *words: str | Path) -> list[str | Path]:
        """A command, for this pypid."""
        return [BIN / "pypid", *words, "--config", self.place / "pypid.ini"]

    def pypid(self, *words: str | Path) -> str:
        """What the command said; it works."""
        return works(self.command(*words), self.folder)

    def want(self, *artifacts: Artifact) -> None:
        """Download the files, whole."""
        for artifact in artifacts:
            name = artifact.filename.partition("-")[0]
            self.assertEqual(
                call(self.index, "GET", f"/packages/{name}/{artifact.filename}"), artifact.data
            )

    def keep(self, *artifacts: Artifact) -> None:
        """The same, until they are stored, which may be a moment later."""
        self.want(*artifacts)
        records = [
            self.area() / each.filename.partition("-")[0] / f"{each.filename}.record.json"
            for each in artifacts
        ]
        self.until(lambda: all(record.exists() for record in records))

    def kept(self) -> list[str]:
        """The files that lie there with a record."""
        names = (path.name for path in files_below(self.area()))
        return sorted(
            name.removesuffix(".record.json") for name in names if name.endswith(".record.json")
        )

    def area(self) -> Path:
        """Where kept files lie."""
        return self.index.storage / ".kept"

    def size(self) -> int:
        """The bytes of all files that lie there."""
        total = 0
        for path in files_below(self.area()):
            with contextlib.suppress(FileNotFoundError):  # evicted just now
                total += path.stat().st_size
        return total

    def until(self, true: Callable[[], bool], within: float = 10.0) -> None:
        """Wait for it."""
        deadline = time.monotonic() + within
        while not true():
            self.assertLess(time.monotonic(), deadline, self.index.log(self.since))
            time.sleep(0.05)


class LimitTests(CacheCase):
    lines = "mode = cache\nmax_cache = 700k"

    def test_limit(self) -> None:
        """The least recently used files go when others come, so that the folder stays below
        max_cache; ours stay, and what went is fetched again.
        """
        ours = large("own", size=MIB)
        publish(self.index, ours)
        zebra, bee, cat, dog, elk = (large(name) for name in ("zebra", "bee", "cat", "dog", "elk"))
        publish(self.theirs, zebra, bee, cat, dog, elk)
        for artifact in zebra, bee, cat:
            self.keep(artifact)
            time.sleep(1.1)  # it is known to the second who was wanted first
        self.want(zebra)
        self.assertEqual(len(self.kept()), 3)
        for new, left in (
            (dog, [cat, dog, zebra]),
            (elk, [dog, elk, zebra]),
            (bee, [bee, dog, elk]),
        ):
            time.sleep(1.1)
            self.want(new)
            self.until(
                lambda left=left: self.kept() == sorted(artifact.filename for artifact in left)
            )  # type: ignore[misc]
            self.until(lambda: self.size() <= 700 * KIB, 1)
        self.want(ours)
        self.assertIn("to stay within max_cache", self.index.log(self.since))
        target = self.folder / "target"
        works(
            pip(NEWEST, "install", self.index.url(), "--target", target, "zebra", "own", "cat"),
            self.folder,
        )
        self.assertEqual(installed(target), {"zebra-1.0", "own-1.0", "cat-1.0"})
        self.until(lambda: self.size() <= 700 * KIB)
        self.assertIn("0 problems", self.pypid("storage", "check", "--hashes"))
        self.assertIn("of at most 700.0 KiB", self.pypid("cache", "list"))

    def test_restart(self) -> None:
        """When files were wanted is known after a restart, and a limit that was lowered is kept."""
        artifacts = [large("bee", f"{number}.0", 100 * KIB) for number in range(6)]
        publish(self.theirs, *artifacts)
        self.keep(*artifacts)
        stop(self.index)
        stored = time.time() - 9 * 86400
        for path in self.area().rglob("*"):
            os.utime(path, (stored, stored))
        self.settings = Settings(upstream=self.settings.upstream.replace("700k", "300k"))
        self.index = self.entered(pypid(self.place, self.settings))
        self.since = self.index.log_size()
        listing = self.pypid("cache", "list", "bee")
        self.assertEqual(listing.count(artifacts[0].filename[:4]), 6, listing)
        self.assertNotIn(time.strftime("%Y-%m-%d", time.gmtime(stored)), listing)
        whale = large("cow", size=250 * KIB)
        publish(self.theirs, whale)
        self.want(whale)
        self.until(lambda: self.size() <= 300 * KIB)
        self.assertIn(whale.filename, self.kept())


class PurgeTests(CacheCase):
    def check_commands(self, *artifacts: Artifact) -> None:
        """list, purge and why, of what is kept."""
        bee, newer, cat = artifacts
        said = self.pypid("cache", "list")
        self.assertRegex(said, r"(?m)^bee +2 +\S+ KiB  +\d{4}-\d\d-\d\d \d\d:\d\d$")
        self.assertIn("2 projects, 3 files, ", said)
        self.assertIn("(no limit: [upstream] max_cache is empty)", said)
        told: Any = json.loads(self.pypid("cache", "list", "--json"))
        self.assertEqual(told["size"], self.size())
        self.assertIn(newer.filename, self.pypid("cache", "list", "Bee"))
        self.assertIn(
            f"{bee.filename}: visible, cached\n", self.pypid("project", "why", "bee", bee.filename)
        )
        self.assertIn(
            "Deleted: 0 files", self.pypid("cache", "purge", "--older-than", "1h", "--yes")
        )
        self.assertIn(
            "nothing was deleted", fails(self.command("cache", "purge"), self.folder, said="no\n")
        )
        self.assertIn("Deleted: 1 file", self.pypid("cache", "purge", "bee", bee.filename, "--yes"))
        self.assertEqual(self.kept(), [newer.filename, cat.filename])
        self.assertIn(
            "Deleted: 1 file",
            works(self.command("cache", "purge", "cat"), self.folder, said="yes\n"),
        )
        self.assertIn("Deleted: 1 file", self.pypid("cache", "purge", "--yes"))
        self.assertEqual((self.kept(), self.size()), ([], 0))

    def artifacts(self) -> tuple[Artifact, ...]:
        """Three files of theirs, kept, and one of ours."""
        ours, made = large("own"), (large("bee"), large("bee", "2.0"), large("cat"))
        publish(self.index, ours)
        publish(self.theirs, *made)
        self.keep(*made)
        return made

    def test_running(self) -> None:
        """cache list, cache purge and why work on a running pypid, which sees it at once; files of
        ours stay.
        """
        made = self.artifacts()
        self.check_commands(*made)
        self.assertEqual(listed(self.index, "own"), [large("own").filename])
        self.keep(*made)
        self.want(large("own"))

    def test_reader(self) -> None:
        """Who is downloading a file while it is purged gets it whole; the next one has it fetched
        again.
        """
        whale = large("whale", size=24 * MIB)
        publish(self.theirs, whale)
        self.keep(whale)
        connection = http.client.HTTPConnection("127.0.0.1", self.index.port, timeout=30)
        self.addCleanup(connection.close)
        connection.request("GET", f"/packages/whale/{whale.filename}")
        answer = connection.getresponse()
        digest = sha256(answer.read(64 * KIB))
        self.assertIn("Deleted: 1 file", self.pypid("cache", "purge", "whale", "--yes"))
        self.assertEqual(self.size(), 0)
        while piece := answer.read(MIB):
            digest.update(piece)
        self.assertEqual(digest.hexdigest(), sha256(whale.data).hexdigest())
        self.keep(whale)


class MirrorTests(CacheCase):
    lines = "mode = mirror\nrefresh = 1s\nttl = 1h"

    def test_private_names(self) -> None:
        """A kept name that has become ours is not asked for any more by the refreshing."""
        bee = large("bee")
        publish(self.theirs, bee)
        self.keep(bee)
        self.until(lambda: "1 of 1 cached projects were refreshed" in self.index.log(self.since))
        publish(self.index, large("bee", "9.0"), user="admin")
        heard, since = self.theirs.log_size(), self.index.log_size()
        self.until(
            lambda: self.index.log(since).count("0 of 1 cached projects were refreshed") >= 2
        )
        late = [answer.path for answer in self.theirs.answers(heard)]
        self.assertLessEqual(len(late), 1)  # one that was under way
        self.assertEqual(listed(self.index, "bee"), [large("bee", "9.0").filename])
