"""pypid on the storage of a real pypicloud: it finds and serves what is there, where it lies."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests import distributions as made
from tests.live.daemon import PASSWORDS, LiveIndex, Settings, pypid
from tests.live.isolation import pip, twine, works
from tests.live.processes import BIN, scratch
from tests.live.projects import Artifact, listed, manage, page, sdist, wheel
from tests.live.pypicloud import Pypicloud, pypicloud
from tests.live.stores import Store, store
from tests.live.test_install import NEWEST, installed

PREFIX: Final = "team/"
NO_NEW_CHECKSUMS: Final = {
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
}
"""radosgw of Debian 12 does not know those that boto3 has sent since 2025."""


class StoryCase(SynchronousTestCase):
    """What all storages have in common: a folder, and who may do what."""

    timeout = 600
    theirs: Mapping[str, str] = {}
    """pypicloud's settings of the storage."""
    ours = ""
    """The lines of ``[storage]``."""

    def setUp(self) -> None:
        folder = scratch()
        self.folder = folder.__enter__()
        self.addCleanup(folder.__exit__, None, None, None)
        self.all: dict[str, Artifact] = {}

    # --- pypicloud ---

    def pypicloud(self, **more: str) -> AbstractContextManager[Pypicloud]:
        """One that knows nothing: it looks through the storage."""
        place = self.folder / "pypicloud"
        (place / "cache.db").unlink(missing_ok=True)
        access = {
            "pypi.default_read": "everyone",
            "pypi.default_write": "authenticated",
            "pypi.fallback": "none",
        }
        changed = {f"storage.{key}": value for key, value in more.items()}
        return pypicloud(
            place,
            {**access, "pypi.allow_overwrite_groups": "everyone", **self.theirs, **changed},
            **NO_NEW_CHECKSUMS,
        )

    def pypid(self) -> AbstractContextManager[LiveIndex]:
        """It begins with what is there; alice may overwrite."""
        place = self.folder / "pypid"
        place.mkdir(exist_ok=True)
        return pypid(place, Settings(bucket=self.ours, access="overwrite = alice\ndelete = alice"))

    def upload(self, url: str, *artifacts: Artifact) -> None:
        """Upload them, as alice."""
        paths = [artifact.into(self.folder / "dist") for artifact in artifacts]
        works(twine(url, "alice", PASSWORDS["alice"], *paths), self.folder)
        self.all.update({artifact.filename: artifact for artifact in artifacts})

    def installs(self, url: str, into: str, names: Sequence[str], *pinned: str) -> None:
        """pip installs all of them, with the hashes that the pages say; what is yanked has to be
        pinned.
        """
        target = self.folder / into
        wanted = [
            *pinned,
            *(name for name in names if not any(pin.startswith(f"{name}=") for pin in pinned)),
        ]
        works(pip(NEWEST, "install", url, "--target", target, "--no-deps", *wanted), self.folder)
        self.assertEqual(
            {found.partition("-")[0].replace("_", "-") for found in installed(target)}, set(names)
        )

    def check_listed(self, index: LiveIndex) -> None:
        """pypid lists all, with the right hashes."""
        for name in {filename.partition("-")[0].replace("_", "-") for filename in self.all}:
            self.assertEqual(
                listed(index, name),
                sorted(f for f in self.all if f.partition("-")[0].replace("_", "-") == name),
            )

    def tells(self) -> None:
        """The whole story."""
        with self.pypicloud() as cloud:
            self.upload(
                cloud.url("/simple/"),
                described("ppc-one", "Späm, lövely"),
                sdist("ppc-two"),
            )
        self.left_behind()
        with self.pypid() as index:
            self.check_listed(index)
            (file,) = page(index, "ppc-one")["files"]
            self.assertTrue(file["core-metadata"])
            self.assertEqual(file["requires-python"], ">=3.8")
            self.installs(index.url(), "by-pypid", sorted(self.names()))
            self.upload(
                index.url("/legacy/"),
                described("ppc-new", "Old"),
                sdist("ppc-new"),
                wheel("ppc-one", "2.0"),
                sdist("ppc-gone"),
            )
            self.upload(index.url("/legacy/"), described("ppc-new", "Nöw overwritten"))
            manage(index, "PUT", "ppc-two/releases/1.0/yank", reason="bad")
            works(
                [
                    BIN / "pypid",
                    "project",
                    "delete",
                    "ppc-gone",
                    "1.0",
                    "--yes",
                    "-c",
                    index.config,
                ],
                self.folder,
            )
            del self.all[sdist("ppc-gone").filename]
            self.check_listed(index)
            self.assertIn("files; ", index.log())
        with self.pypid() as index:
            self.check_listed(index)
            self.assertEqual([file["yanked"] for file in page(index, "ppc-two")["files"]], ["bad"])
            self.installs(index.url(), "again", sorted(self.names()), "ppc-two==1.0")
            said = works(
                [BIN / "pypid", "storage", "check", "--hashes", "-c", index.config], self.folder
            )
            self.assertIn("0 problems", said)

    def names(self) -> set[str]:
        """The projects."""
        return {filename.partition("-")[0].replace("_", "-") for filename in self.all}

    def left_behind(self) -> None:
        """What older pypiclouds left there."""


def described(name: str, summary: str) -> Artifact:
    """A wheel that says something of itself."""
    said = made.metadata(name, metadata_version="2.4", requires_python=">=3.8", summary=summary)
    return wheel(name, tag="py3-none-any", metadata_bytes=said)


class FolderTests(StoryCase):
    """In a folder, as pypicloud's file store has it."""

    def setUp(self) -> None:
        super().setUp()
        self.place = self.folder / "pypicloud/packages"
        self.ours = f"path = {self.place}\nadopt = yes"

    def left_behind(self) -> None:
        """A file without JSON, and one with half of it."""
        for artifact in sdist("ppc-old"), wheel("ppc-torn"):
            path = artifact.into(
                self.place / artifact.filename.partition("-")[0].replace("_", "-") / "1.0"
            )
            self.all[artifact.filename] = artifact
        path.with_name(path.name + ".meta").write_text('{"summary": "ha')
        self.before = self.stored()

    def test_story(self) -> None:
        """All that pypicloud left is found, installed and not touched; a new start changes nothing."""
        self.tells()
        after = self.stored()
        self.assertEqual({path: after.get(path) for path in self.before}, self.before)

    def stored(self) -> dict[str, bytes]:
        """All files of pypicloud's, by their path."""
        found = (path for path in self.place.glob("*/1.0/*") if path.is_file())
        return {str(path): path.read_bytes() for path in found}


class BucketTests(StoryCase):
    """In a bucket, with and without the hash before the keys."""

    def begin(self, *, hashed: bool) -> None:
        """A bucket of its own."""
        manager = store()
        self.s3: Store = manager.__enter__()
        self.addCleanup(manager.__exit__, None, None, None)
        self.bucket = self.s3.bucket()
        self.theirs = {
            "pypi.storage": "s3",
            "storage.bucket": self.bucket,
            "storage.prefix": PREFIX,
            "storage.region_name": self.s3.region,
            "storage.endpoint_url": self.s3.endpoint,
            "storage.addressing_style": "path",
            "storage.aws_access_key_id": self.s3.access_key,
            "storage.aws_secret_access_key": self.s3.secret_key,
            "storage.prepend_hash": str(hashed),
        }
        self.ours = "\n".join(
            (
                "backend = s3\nadopt = yes",
                f"bucket = {self.bucket}",
                f"prefix = {PREFIX}",
                f"region = {self.s3.region}",
                f"endpoint_url = {self.s3.endpoint}",
                f"access_key = {self.s3.access_key}",
                f"secret_key = {self.s3.secret_key}",
            )
        )
        self.hashed = hashed

    def left_behind(self) -> None:
        """Objects that nobody described, some of another layout, and what is no distribution."""
        with self.pypicloud(prepend_hash=str(not self.hashed)) as cloud:
            self.upload(cloud.url("/simple/"), wheel("ppc-otherwise"))
        old = sdist("ppc-old")
        self.all[old.filename] = old
        for key, data in ((f"ppc-old/{old.filename}", old.data), ("logs/today.txt", b"x")):
            self.assertEqual(self.s3.ask("PUT", f"/{self.bucket}/{PREFIX}{key}", data).status, 200)

    def test_hashed(self) -> None:
        """With the hash: all is found and installed, whatever lies there without it."""
        self.begin(hashed=True)
        self.tells()

    def test_plain(self) -> None:
        """Without."""
        self.begin(hashed=False)
        self.tells()
