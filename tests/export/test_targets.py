"""A folder and a bucket as places for copies: what a run that was killed left behind, and odd
dates.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from pypid.core.errors import BadRequest, StorageDown
from pypid.core.packaging.names import ProjectName, project_name
from pypid.export.folder import TEMPORARY, FolderPlace
from pypid.export.targets import Copy, ExportPlace, FilePiece, Stamp
from pypid.export.visibility import ExportViewer
from pypid.flow import BytesBody, start
from tests.export.test_buckets import BucketCase
from tests.export.trees import names_in


class CopyTests(BucketCase):
    """What is copied is there."""

    def copied(self, place: ExportPlace, uploaded: datetime) -> list[Copy]:
        """What a place says to lack of a copy that it was just given."""
        filename, data = self.have_wheel()
        file = self.have(self.pypid.index.project(project_name("spam"))).files[0]
        self.have(place.claim(Stamp("ours", "anonymous"), clears=False))
        copy = Copy(f"packages/spam/{filename}", FilePiece.BYTES, replace(file, uploaded=uploaded))
        self.have(place.copy(copy, BytesBody(data)))
        again = replace(copy.file, uploaded=uploaded + timedelta(days=3), sha256="1" * 64)
        self.assertEqual(len(self.have(place.lacks([Copy(copy.path, FilePiece.BYTES, again)]))), 1)
        return list(self.have(place.lacks([copy])))

    def test_dates(self) -> None:
        """Upstream says of some files that they come from a year that no file system knows; they
        are not copied for ever.
        """
        for year in (1, 1901, 1969, 2026, 2500, 9998):
            self.folder = Path(self.mktemp()).absolute()
            place = FolderPlace(str(self.folder), self.pypid.world)
            self.assertEqual(self.copied(place, datetime(year, 5, 1, tzinfo=UTC)), [], year)

    def test_clock_of_bucket(self) -> None:
        """Nor are those that a bucket, by its own clock, got before they were uploaded."""
        self.assertEqual(
            self.copied(self.place(), self.pypid.world.now() + timedelta(seconds=90)), []
        )

    def test_killed(self) -> None:
        """In a container each run has the same process id: what a killed one left half copied is in
        nobody's way, and goes.
        """
        incoming = self.folder / TEMPORARY
        self.have_wheel()
        self.write(copies=True)
        for number in range(100):
            (incoming / f"{os.getpid()}.{number}").write_bytes(b"half")
        self.have_wheel("eggs")
        self.assertEqual(self.write(copies=True).counts.copied, 1)
        self.assertEqual(list(incoming.iterdir()), [])


class LinkTests(BucketCase):
    """Symbolic links in a tree."""

    def test_storage(self) -> None:
        """Whoever had files served out of the storage itself would lose them, with --delete: it
        is refused.
        """
        storage = Path(self.mktemp()).absolute()
        filename, data = self.have_wheel()
        bytes_ = storage / "spam" / filename
        bytes_.parent.mkdir(parents=True)
        bytes_.write_bytes(data)
        place = FolderPlace(str(self.folder), self.pypid.world, {str(storage): "storage"})
        self.write(place, clears=True)
        (self.folder / "packages").symlink_to(storage)
        for each in (
            place,
            FolderPlace(str(self.folder), self.pypid.world, {str(storage): "storage"}),
        ):
            failure = self.failureResultOf(start(self.writing(each, clears=True)), BadRequest)
            self.assertIn("packages is in, or around, the storage folder", str(failure.value))
        self.failureResultOf(start(place.of([project_name("spam")])), BadRequest)
        self.assertEqual(bytes_.read_bytes(), data)

    def test_of_project(self) -> None:
        """A project's folder that is a link is none that an export has made: nothing is removed
        there.
        """
        elsewhere = Path(self.mktemp()).absolute()
        filename, data = self.have_wheel()
        elsewhere.mkdir()
        (elsewhere / filename).write_bytes(data)
        self.write()
        (self.folder / "packages").mkdir()
        (self.folder / "packages/spam").symlink_to(elsewhere)
        self.write(clears=True)
        self.assertEqual((elsewhere / filename).read_bytes(), data)


class FailingTests(BucketCase):
    """An export that fails in the middle."""

    def test_hidden(self) -> None:
        """What is hidden has gone by then, from the lists and itself."""
        for name in ("secret", "spam"):
            self.have_wheel(name)
        self.write(copies=True)
        self.hide("secret")

        async def fails(viewer: ExportViewer, name: ProjectName) -> None:
            raise StorageDown("it is away.")

        self.patch(ExportViewer, "project", fails)
        failing = self.writing(copies=True, clears=True, verifies=True)
        self.failureResultOf(start(failing), StorageDown)
        self.assertEqual(names_in(self.folder), ["spam"])
        self.assertFalse(
            [path for path, body in self.tree().items() if "secret" in path or b"secret" in body]
        )
        self.assertIn("simple/spam/index.html", self.tree())
