"""What a project's page shows of its files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import File, ListedFile, Project, StoredFile, as_listed, in_order
from pypid.core.packaging.names import project_name
from pypid.core.presentation.project_view import (
    LARGEST_INSIDE,
    MOST_FILES,
    Age,
    ShownRelease,
    Whose,
    all_lines,
    is_pkg_info,
    shown,
)

SPAM = project_name("spam")
THEN = datetime(2026, 1, 1, tzinfo=UTC)


def file(version: str, tag: str = "py3-none-any", **more: Any) -> File:
    filename = f"spam-{version}.tar.gz" if tag == "sdist" else f"spam-{version}-{tag}.whl"
    kind = StoredFile if "key" in more else ListedFile if "source" in more else File
    values = {"sha256": "0" * 64, "size": 10, "uploaded": THEN, **more}
    return kind(project=SPAM, filename=filename, version=version, **values)


def page(*files: File, version: str | None = None) -> ShownRelease:
    found = shown(Project(name=SPAM, files=in_order(files)), version)
    assert found is not None
    return found


class ShownTests(SynchronousTestCase):
    """One release."""

    def test_newest(self) -> None:
        """Without a version it is the release that installers choose: no pre-release, and none that
        is yanked.
        """
        files = (file("1.0"), file("1.1"), file("2.0", yanked="broken"), file("3.0a1"))
        found = page(*files)
        self.assertEqual(
            (found.line.version, found.newest, found.age, found.older),
            ("1.1", "1.1", Age.CHOSEN, "1.0"),
        )

    def test_others(self) -> None:
        """Another release knows which one is chosen, and is compared with one that is not yanked,
        where there is one.
        """
        files = (file("1.0"), file("1.1", yanked=""), file("2.0"), file("3.0a1"))
        self.assertEqual(
            (page(*files, version="1.0").age, page(*files, version="1.0").older), (Age.OLDER, None)
        )
        self.assertEqual(
            (page(*files, version="v3.0.0-a.1").age, page(*files, version="3.0a1").older),
            (Age.NEWER, "2.0"),
        )
        self.assertEqual(page(*files).older, "1.0")
        self.assertEqual(page(*files[1:]).older, "1.1")

    def test_none(self) -> None:
        """Of a version that is not there, and of a project without files, there is
        nothing to show.
        """
        self.assertIsNone(shown(Project(name=SPAM, files=(file("1.0"),)), "2.0"))
        self.assertIsNone(shown(Project(name=SPAM), None))

    def test_line(self) -> None:
        """A release was uploaded with its first file, is as large as all of them, and says why it
        was yanked.
        """
        one, two = (
            file("1.0", "sdist", uploaded=THEN + timedelta(1), yanked=""),
            file("1.0", yanked="broken"),
        )
        line = page(one, two).line
        self.assertEqual((line.uploaded, line.files, line.size), (THEN, 2, 20))
        self.assertEqual((line.is_yanked, line.yanked_reason), (True, "broken"))
        self.assertIsNone(page(one, replace(two, size=None)).line.size)
        self.assertFalse(page(one, file("1.0")).line.is_yanked)

    def test_requires_python(self) -> None:
        """What Python the release needs is said once, and of a file only where it differs."""
        found = page(
            file("1.0", "sdist"),
            file("1.0", requires_python=">=3.9"),
            file("1.0", "cp312-cp312-any", requires_python=">=3.12"),
        )
        self.assertIn(found.line.requires_python, (">=3.9", ">=3.12"))
        differing = {line.file.filename: line.requires_python for line in found.files}
        self.assertEqual(differing["spam-1.0.tar.gz"], "any")
        self.assertEqual(sorted(text or "" for text in differing.values()).count(""), 1)

    def test_order(self) -> None:
        """An sdist comes before the wheels."""
        found = page(file("1.0", "cp311-cp311-win32"), file("1.0", "sdist"))
        self.assertEqual([line.fit.kind for line in found.files], ["sdist", "wheel"])

    def test_many(self) -> None:
        """Of ten thousand files so many are shown, and all releases; the rest is counted."""
        files = [file(f"1.{number}") for number in range(50)] + [
            file("2.0", f"cp3{number}-none-any") for number in range(300)
        ]
        found = page(*files)
        self.assertEqual((len(found.files), found.line.files), (MOST_FILES, 300))
        everything = all_lines(Project(name=SPAM, files=in_order(tuple(files))))
        self.assertEqual(
            (everything.newest, len(everything.each), everything.each[0].version),
            ("2.0", 51, "2.0"),
        )

    def test_whose(self) -> None:
        """It is said whose the files are."""
        theirs = file("1.0", source="https://files.example/spam-1.0-py3-none-any.whl")
        self.assertEqual(page(file("1.0")).whose, Whose.OURS)
        self.assertEqual(page(theirs).whose, Whose.UPSTREAM)
        self.assertEqual(page(theirs, file("2.0")).whose, Whose.BOTH)

    def test_describing(self) -> None:
        """It is described by a file with stored metadata; else by one of theirs whose metadata
        might be found.
        """
        stored = file("1.0", "sdist", metadata_sha256="1" * 64)
        self.assertEqual(page(stored, file("1.0")).describing, stored)
        self.assertIsNone(page(file("1.0")).describing)
        theirs = file("1.0", source="https://files.example/spam-1.0-py3-none-any.whl")
        offered = file(
            "1.0", "sdist", source="https://files.example/spam-1.0.tar.gz", metadata_offered=True
        )
        self.assertEqual(page(theirs).describing, theirs)
        self.assertEqual(page(theirs, offered).describing, offered)
        self.assertIsNone(page(replace(offered, metadata_offered=False)).describing)

    def test_inside(self) -> None:
        """Where no metadata lie beside the files they are looked for inside of one that is here,
        and not large.
        """
        here = file("1.0", "sdist", key="spam/spam-1.0.tar.gz")
        self.assertEqual((page(here).describing, page(here).inside), (None, here))
        self.assertIsNone(page(here, file("1.0", metadata_sha256="1" * 64)).inside)
        for other in (
            replace(here, size=LARGEST_INSIDE + 1),
            as_listed(here),
            replace(here, archived=True),
        ):
            self.assertIsNone(page(other).inside)
        good = ("spam-1.0/PKG-INFO", "EGG-INFO/PKG-INFO", "spam-1.0.dist-info/METADATA")
        for path in (
            *good,
            "spam-1.0/spam.egg-info/PKG-INFO",
            "METADATA",
            "spam/METADATA",
            "spam-1.0/PKG-INFO.txt",
            "",
        ):
            self.assertEqual(is_pkg_info(path), path in good, path)
