"""What is kept of another pypid's files, really: what goes, and what
a mirror does by itself.
"""

import time
from collections.abc import Callable
from hashlib import shake_128
from pathlib import Path

from tests.live.daemon import IndexTestCase, LiveIndex, Settings, pypid
from tests.live.isolation import works
from tests.live.processes import BIN, files_below, scratch
from tests.live.projects import Artifact, call, listed, publish, wheel

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
        return sum(path.stat().st_size for path in files_below(self.area()))

    def until(self, true: Callable[[], bool], within: float = 10.0) -> None:
        """Wait for it."""
        deadline = time.monotonic() + within
        while not true():
            self.assertLess(time.monotonic(), deadline, self.index.log(self.since))
            time.sleep(0.05)


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
