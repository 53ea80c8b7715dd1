"""What a project's page shows of its files."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import File, ListedFile, Project, StoredFile, as_listed, in_order
from pypid.core.packaging.names import project_name
from pypid.core.presentation.project_view import (
    LARGEST_INSIDE,
    ShownRelease,
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
