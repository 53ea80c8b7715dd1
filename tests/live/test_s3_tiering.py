"""Old files go into a cheaper storage class, and come back out of an archive: with real stores, and
the real command.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import atexit
import functools
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.s3 import store
from pypid.blobs.s3.store import S3Blobs, S3Settings
from pypid.core.model import Span
from pypid.flow import FileBody, whole
from tests.live.daemon import Settings
from tests.live.isolation import works
from tests.live.processes import BIN
from tests.live.projects import call, publish, sdist, wheel
from tests.live.stores.between import between
from tests.live.stores.moto import moto, restores_take
from tests.live.stores.waiting import OverSockets
from tests.live.test_cache import large
from tests.live.test_s3 import SIGNED, BucketCase, Place, get

MEBIBYTE: Final = 1 << 20
OLD: Final = "2019-01-01T00:00:00Z"


class TierCase(BucketCase):
    """Tests that run `pypid storage tier` on a pypid that runs."""

    def pypid(self, *words: str | Path) -> str:
        """What the command said; it works."""
        return works(self.command(*words), self.folder)

    def command(self, *words: str | Path) -> list[str | Path]:
        """A command, for this pypid."""
        return [BIN / "pypid", *words, "--config", self.index.config]

    def tier(self, storage_class: str, project: str, *words: str) -> Any:
        """What became of the project's files, by name."""
        line = (
            "storage",
            "tier",
            "--older-than",
            "180d",
            "--keep",
            "1",
            "--class",
            storage_class,
            "--json",
            *words,
        )
        return {
            file["filename"]: file["outcome"]
            for file in json.loads(self.pypid(*line))["files"]
            if file["project"] == project
        }

    def make_old(self, name: str, filename: str) -> None:
        """It was published years ago."""
        where = f"{name}/{filename}.record.json"
        record = json.loads(self.place.ask("GET", where))
        record["file"]["upload-time"] = OLD
        self.place.ask("PUT", where, json.dumps(record).encode())
        call(self.index, "POST", f"/api/rebuild/{name}", user="admin")

    def class_of(self, key: str) -> str:
        """Where the object stands."""
        head = self.place.s3.ask("HEAD", f"/{self.place.bucket}/{'team a+b/'}{key}")
        return head.headers["x-amz-storage-class"] or "STANDARD"


class CommandTests(TierCase):
    def test_tier(self) -> None:
        """Old files but those of the newest version go; they are read and redirected to as before.
        A dry run moves nothing.
        """
        old, other, newer, newest = (
            large("s3-tier", "1.0", MEBIBYTE),
            sdist("s3-tier", "1.0"),
            wheel("s3-tier", "2.0"),
            wheel("s3-tier", "3.0"),
        )
        publish(self.index, old, other, newer, newest)
        for artifact in old, other, newest:
            self.make_old("s3-tier", artifact.filename)
        due = [old.filename, other.filename]
        self.assertEqual(
            self.tier("GLACIER_IR", "s3-tier", "--dry-run"), dict.fromkeys(due, "would-move")
        )
        self.assertEqual(self.class_of(f"s3-tier/{old.filename}"), "STANDARD")
        said = self.pypid(
            "storage", "tier", "--older-than", "180d", "--keep", "1", "--class", "glacier_ir"
        )
        self.assertIn(f"moved: s3-tier/{old.filename} from STANDARD, 1.0 MiB", said)
        self.assertRegex(said, r"(?m)^[0-9]+ moved \([0-9.]+ MiB\), ")
        self.assertEqual(self.tier("GLACIER_IR", "s3-tier"), dict.fromkeys(due, "there"))
        for filename, wanted in (
            (old.filename, "GLACIER_IR"),
            (newer.filename, "STANDARD"),
            (newest.filename, "STANDARD"),
        ):
            self.assertEqual(self.class_of(f"s3-tier/{filename}"), wanted)
        self.assertEqual(self.class_of(f"s3-tier/{old.filename}.metadata"), "STANDARD")
        given = get(get(self.packages(old, "s3-tier")).location)
        self.assertEqual((given.status, given.body), (200, old.data))
        stored = self.place.s3.ask(
            "HEAD", f"/{self.place.bucket}/team a+b/s3-tier/{old.filename}"
        ).headers
        self.assertEqual(stored["Content-Type"], "application/octet-stream")
        self.assertEqual(stored["Content-Disposition"], f'attachment; filename="{old.filename}"')
        self.assertEqual(len(stored["x-amz-meta-pypid-write"]), 32)
        self.assertIn("0 problems", self.pypid("storage", "check", "--hashes"))
        self.assertEqual(self.tier("STANDARD", "s3-tier"), dict.fromkeys(due, "moved"))

    def test_block(self) -> None:
        """A block says until when signed URLs work that were given before; bytes that an older
        version has moved aside return, and stay blocked until the block ends.
        """
        old, newer = large("s3-block", "1.0", MEBIBYTE), wheel("s3-block", "2.0")
        publish(self.index, old, newer)
        location = get(self.packages(old, "s3-block")).location
        self.assertEqual(get(location).body, old.data)
        said = self.pypid("block", "create", "s3-block==1.0", "--reason", "steals tokens")
        self.assertIn("signed URLs given earlier work until 20", said)
        self.assertEqual(get(location).body, old.data)
        folder, where = f"/{self.place.bucket}/team a+b/", f"s3-block/{old.filename}"
        self.place.s3.ask("PUT", f"{folder}.pypid/held/b1/{where}", old.data)
        self.place.s3.ask("DELETE", f"{folder}{where}")
        refused = get(self.packages(old, "s3-block"))
        self.assertEqual(refused.status, 403)
        self.assertIn(b"steals tokens", refused.body)
        self.assertEqual(get(self.packages(newer, "s3-block")).status, 302)
        self.pypid("storage", "rebuild")
        self.assertIn("0 problems", self.pypid("storage", "check", "--hashes"))
        self.assertEqual(get(self.packages(old, "s3-block")).status, 403)
        self.assertIn(old.filename, self.pypid("downloads", "--blocked", "s3-block"))
        self.pypid("block", "delete", said.partition(":")[0])
        self.assertEqual(get(location).body, old.data)
        self.assertEqual(get(get(self.packages(old, "s3-block")).location).body, old.data)
        self.assertIn("0 problems", self.pypid("storage", "check", "--hashes"))


@functools.cache
def archive() -> Place:
    """A bucket of moto."""
    stack = ExitStack()
    atexit.register(stack.close)
    s3 = stack.enter_context(moto())
    return Place(s3, s3.bucket(), stack.enter_context(between(s3)))


class ArchiveTests(TierCase):
    def start(self) -> Any:
        self.place = archive()
        self.before = self.place.before
        index = self.begun(Settings(bucket=self.place.lines(self.more)))
        self.addCleanup(self.check_secrets)
        return index

    def asked(self, artifact: Any) -> int:
        """How often the store was asked to restore it."""
        return sum(
            "restore" in heard.target
            for heard in self.before.heard(artifact.filename)
            if heard.method == "POST"
        )

    def look(self, name: str, filename: str, times: int) -> None:
        """Look at the object so often."""
        for _ in range(times):
            self.place.s3.ask("HEAD", f"/{self.place.bucket}/team a+b/{name}/{filename}")

    def test_archive(self) -> None:
        """What lies in an archive is no redirect but 503 with Retry-After, and is asked back once;
        restored it is had whole.
        """
        old, newest = wheel("s3-deep", "1.0"), wheel("s3-deep", "2.0")
        publish(self.index, old, newest)
        self.make_old("s3-deep", old.filename)
        url = self.packages(old, "s3-deep")
        self.assertIn(SIGNED, get(url).location)
        restores_take(self.place.s3, 30)
        self.assertEqual(self.tier("GLACIER", "s3-deep"), {old.filename: "moved"})
        self.look("s3-deep", old.filename, 30)  # else moto takes it for restored before it is
        for _ in range(3):
            refused = get(url)
            self.assertEqual((refused.status, refused.headers["Location"]), (503, None))
            self.assertGreater(int(refused.headers["Retry-After"]), 0)
            self.assertIn(b"archive", refused.body)
        self.assertEqual(self.asked(old), 1)
        self.assertEqual(get(url, "HEAD").status, 503)
        self.assertEqual(get(f"{url}.metadata").status, 200)
        self.assertEqual(self.tier("STANDARD", "s3-deep"), {old.filename: "archived"})
        self.assertIn("0 problems", self.pypid("storage", "check", "--hashes"))
        self.look("s3-deep", old.filename, 30)
        got = get(url)
        self.assertEqual((got.status, got.body), (200, old.data))
        self.assertEqual(get(url, Range="bytes=0-9").body, old.data[:10])
        self.assertEqual(get(self.packages(newest, "s3-deep")).status, 302)


class CopyTests(OverSockets, SynchronousTestCase):
    """What is copied, by whatever way."""

    settings = S3Settings(bucket="", prefix="some packages+\u00e9/")

    def setUp(self) -> None:
        super().setUp()
        self.bucket = self.s3.bucket("classes")
        self.blobs: S3Blobs = self.have(self.opened(self.told(self.s3, self.bucket)))

    def test_parts(self) -> None:
        """What is too large for one copy is copied in parts: the bytes and what is said of them
        stay; nothing is left over.
        """
        data = bytes(range(251)) * (23 * MEBIBYTE // 251)
        # this radosgw decodes a % in the name of a source twice, and ends
        key = "spam/spam-1.0+\u00e9 ~?#.tar.gz"
        made = tempfile.TemporaryFile()  # noqa: SIM115
        made.write(data)
        made.flush()
        self.have(self.blobs.write(key, FileBody(made, Span(0, len(data)), self.world.blocking)))
        before = self.s3.ask("HEAD", f"/{self.bucket}/{self.settings.prefix}{key}").headers
        with (
            patch.object(store, "LARGEST_COPY", 10 * MEBIBYTE),
            patch.object(store, "COPY_PART", 5 * MEBIBYTE),
        ):
            self.have(self.blobs.classes.move(key, "GLACIER_IR"))
        after = self.s3.ask("HEAD", f"/{self.bucket}/{self.settings.prefix}{key}").headers
        self.assertEqual(after["x-amz-storage-class"], "GLACIER_IR")
        for name in (
            "Content-Type",
            "Content-Disposition",
            "x-amz-meta-pypid-write",
            "Content-Length",
        ):
            self.assertEqual(after[name], before[name], name)
        self.assertIn("-5", after["ETag"])
        self.assertEqual(self.have(self.read(key)), data)
        uploads = self.s3.ask("GET", f"/{self.bucket}", query={"uploads": ""})
        self.assertEqual(uploads.find("UploadId"), [])

    async def read(self, key: str) -> bytes:
        """All of it."""
        return await whole(await self.blobs.read(key), 1 << 30)
