"""The drill of a restore: what it takes for a difference."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pypid.access.sql.schema import prepare
from pypid.access.sql.tables import SCHEMA_PARTS
from pypid.cli.drill import (
    ExpectedProject,
    drill_values,
    expected_projects,
    may_log_in,
    page_differences,
    started_copy,
)
from pypid.core.records.documents import dump_record
from pypid.databases.sqlite import make_file, sqlite_engine
from pypid.databases.transactions import transact
from pypid.testing.examples import SPAM, a_file

EXPECTED = ExpectedProject(
    {"spam-1.0.tar.gz": "ab", "spam-2.0.tar.gz": "cd"}, frozenset({"spam-2.0.tar.gz"})
)


def page(*files: tuple[str, str, object], **more: object) -> dict[str, Any]:
    return {
        "files": [
            {"filename": name, "hashes": {"sha256": digest}, "yanked": yanked}
            for name, digest, yanked in files
        ],
        **more,
    }


class DifferenceTests(SynchronousTestCase):
    first, second = ("spam-1.0.tar.gz", "ab", False), ("spam-2.0.tar.gz", "cd", "broken")

    def differences(self, document: dict[str, Any]) -> list[str]:
        return page_differences("spam", document, EXPECTED)

    def test_equal_pages(self) -> None:
        """A page with the same files is equal, and so is that of a quarantined project."""
        self.assertEqual(self.differences(page(self.first, self.second)), [])
        quarantined = page(**{"project-status": {"status": "quarantined"}})
        self.assertEqual(self.differences(quarantined), [])

    def test_each_difference_is_named(self) -> None:
        """Missing and further files, other hashes and other yanks are differences."""
        self.assertEqual(self.differences(page(self.first)), ["spam: spam-2.0.tar.gz is missing"])
        third = ("spam-3.0.tar.gz", "ef", False)
        self.assertEqual(
            self.differences(page(self.first, self.second, third)),
            ["spam: spam-3.0.tar.gz is not in the backup"],
        )
        changed = page(("spam-1.0.tar.gz", "xy", True), ("spam-2.0.tar.gz", "cd", False))
        self.assertEqual(
            self.differences(changed),
            [
                "spam: spam-1.0.tar.gz has another hash",
                "spam: spam-1.0.tar.gz is yanked in one of the two only",
                "spam: spam-2.0.tar.gz is yanked in one of the two only",
            ],
        )


class AccountTests(SynchronousTestCase):
    def test_backend(self) -> None:
        """Other sources of users are replaced; where the configuration names none, none is set."""
        key = ("access", "backend")
        for text in ("", "[access]\nurl = x\n", "[server]\nsecret = x\n"):
            self.assertNotIn(key, drill_values(1, text))
        values = drill_values(1, "[access]\nbackend = ldap sql\n")
        self.assertEqual(values[key], "config sql")

    def test_login(self) -> None:
        """Users log in if the configuration names a source, or the database allows it."""
        for noted in (True, False):
            file = Path(self.mktemp())
            make_file(file)
            engine = sqlite_engine(file, 1.0, {})
            self.addCleanup(engine.dispose)
            with engine.connect() as opened:
                part = SCHEMA_PARTS["accounts"]
                transact(opened, partial(prepare, part=part, admits_users=noted), True)
            self.assertEqual(may_log_in("", file), noted)
            self.assertTrue(may_log_in("[access]\nbackend = config sql\n", file))


class RecordTests(SynchronousTestCase):
    def test_keys(self) -> None:
        """A record whose key leads out of the folder, or has none, is a difference; no file is
        created or changed for it.
        """
        folder = Path(self.mktemp()).absolute()
        packages, outside = folder / "packages", folder / "outside"
        packages.mkdir(parents=True)
        outside.write_bytes(b"of the user")
        keys = ("spam/spam-1.tar.gz", str(outside), "../outside", "spam/../../outside", "", None)
        for number, key in enumerate(keys, 1):
            file = a_file(SPAM, str(number), key=key, size=3)
            (packages / f"{file.filename}.record.json").write_bytes(dump_record(file))
        expected, differences = expected_projects(packages)
        self.assertEqual(list(expected["spam"].files), ["spam-1.tar.gz"])
        self.assertEqual((packages / "spam/spam-1.tar.gz").read_bytes(), b"\0\0\0")
        self.assertEqual(outside.read_bytes(), b"of the user")
        self.assertEqual(
            differences[:-1],
            [
                f"spam: the record of spam-{number}.tar.gz has no valid key"
                for number in range(2, len(keys))
            ],
        )
        self.assertIn(f"spam-{len(keys)}.tar.gz.record.json cannot be read", differences[-1])

    def test_files_of_named_indexes(self) -> None:
        """Their records are those of another project, and their placeholders are in their part."""
        packages = Path(self.mktemp())
        for part in ("", ".pypid/index/team/"):
            record = packages / part / "spam/spam-1.tar.gz.record.json"
            record.parent.mkdir(parents=True)
            file = a_file(SPAM, "1", size=3)
            record.write_bytes(dump_record(file))
        expected, differences = expected_projects(packages)
        self.assertEqual((sorted(expected), differences), (["spam", "team/spam"], []))
        for part in ("", ".pypid/index/team/"):
            self.assertEqual((packages / part / "spam/spam-1.tar.gz").read_bytes(), b"\0\0\0")


class CopyTests(SynchronousTestCase):
    def test_current_folder(self) -> None:
        """The copy runs the installed pypid, and no package of that name in the current folder."""
        folder = Path(self.mktemp()).absolute()
        package, loaded = folder / "work/pypid", folder / "loaded"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"open({str(loaded)!r}, 'w').close()\n")
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(package.parent)
        log = folder / "log"
        with started_copy(folder / "missing.ini", log) as process:
            process.wait(60)
        self.assertFalse(loaded.exists())
        self.assertIn("missing.ini", log.read_text())
