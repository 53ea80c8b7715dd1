"""The files that `pypid backup create` writes."""

from __future__ import annotations

import os
import tempfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet import reactor as running  # noqa: TID251
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import TestCase

from pypid.access.sql import copies
from pypid.cli import backup
from pypid.core.configuration.parse import parse
from pypid.daemon.state import where
from pypid.databases.places import Place
from pypid.jobs.backup.records import LAST_BACKUP, held
from pypid.wiring.platform import the_world

TEXT = """[server]
state = state
secret = a-secret-that-pypid-gen-secret-could-have-made
[storage]
backend = memory
"""


class BackupCreateTests(TestCase):
    def setUp(self) -> None:
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name)
        self.state = self.folder / "state"
        self.state.mkdir()
        (self.folder / "pypid.ini").write_text(TEXT)

    def creation(self, path: Path, *, encrypt: bool) -> Any:
        """A backup of this state folder."""
        ini = str(self.folder / "pypid.ini")
        config = parse(TEXT, filename=ini, environ={}, read_file=str, cwd=str(self.folder))
        options = Namespace(encrypt=encrypt, files=False, no_cache=False)
        world = the_world(running)
        return backup._Creation(
            options, path, config, where(config, {}), world, running, world.now()
        )

    async def room(self, *, encrypt: bool) -> Path:
        """Where the copies of the databases were made."""
        rooms: list[Path] = []

        def copy(places: Mapping[str, Place], folder: Path) -> dict[str, Path]:
            rooms.append(folder.parent)
            return copied(places, folder)

        copied = copies.copy_databases
        self.patch(copies, "copy_databases", copy)
        target = self.folder / "elsewhere/backup"
        target.parent.mkdir(exist_ok=True)
        with backup._new_file(target, True) as file:
            await ensureDeferred(self.creation(target, encrypt=encrypt).write(file))
        self.assertEqual([*target.parent.iterdir()], [target])
        return rooms[0]

    async def test_copies_of_an_encrypted_backup(self) -> None:
        """Databases are copied beside the backup; for an encrypted one, in the state folder, so
        that its folder never has them as they are.
        """
        self.assertEqual(await self.room(encrypt=False), self.folder / "elsewhere")
        self.assertEqual(await self.room(encrypt=True), self.state)

    def test_two_backups_of_one_name(self) -> None:
        """Each writes a file of its own. The last that ends has the name."""
        path = self.folder / "backup"
        with backup._new_file(path, True) as first:
            first.write(b"first")
            with backup._new_file(path, True) as second:
                second.write(b"second")
            self.assertEqual(path.read_bytes(), b"second")
        self.assertEqual(path.read_bytes(), b"first")
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual({*self.folder.iterdir()}, {path, self.state, self.folder / "pypid.ini"})

    async def test_what_killed_backups_left(self) -> None:
        """The next backup to the same folder removes their parts and copies of databases; not those
        that were changed within an hour or that a process holds, and no files of others.
        """
        target = self.folder / "elsewhere/backup"
        target.parent.mkdir()
        old = [
            target.with_name(name)
            for name in (
                ".backup.01234567.part", ".pypid-20261123T031500Z.tar.gz.01234567.part",
                ".pypid-20261123T031500Z.tar.gz.encrypted.89abcdef.part", ".pypid-backup-abc",
            )
        ]  # fmt: skip
        kept = [
            target.with_name(name)
            for name in (
                ".backup.76543210.part", ".pypid-backup-held", ".other.01234567.part",
                ".pypid-20261124T031500Z.tar.gz.01234567.part", ".backup.part",
                ".backup.00000000.part",
            )
        ]  # fmt: skip
        for path in (*old, *kept[:-1]):
            if "backup-" in path.name:
                path.mkdir()
                (path / "accounts.db").touch()
            else:
                path.touch()
            os.utime(path, (0, 0))
        os.utime(kept[3])
        kept[5].symlink_to(self.state)
        with held(kept[0]), held(kept[1]), backup._new_file(target, True) as file:
            await ensureDeferred(self.creation(target, encrypt=False).write(file))
        self.assertEqual({*target.parent.iterdir()}, {target, *kept})

    def test_root_gives_no_other_file_away(self) -> None:
        """Root writes the time of the backup as a file of the owner of the state folder. It never
        changes an owner by name: the owner of that folder may have put a link there.
        """
        if os.geteuid() == 0:
            os.chown(self.state, 12345, 12345)
        self.patch(os, "geteuid", lambda: 0)
        self.patch(os, "chown", lambda *_: self.fail("by name"))
        backup._remember(self.state, self.creation(self.folder / "backup", encrypt=False))
        found = (self.state / LAST_BACKUP).stat()
        self.assertEqual(found.st_uid, self.state.stat().st_uid)
        self.assertEqual(found.st_mode & 0o777, 0o600)
