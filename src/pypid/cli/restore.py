"""The `restore` command: bring back an index from a backup file, or try that out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field, frozen

from pypid.cli.backup import opened_backup, operator_entry, places_of
from pypid.cli.command import add_command
from pypid.cli.drill import run_drill
from pypid.cli.output import JobProgress, counted, print_json
from pypid.cli.restored_configuration import configuration_of, copy_config, existing_or_new
from pypid.core.errors import CannotStart

if TYPE_CHECKING:
    from pypid.cli.restored_state import RestoredState
    from pypid.core.configuration.parse import Config
    from pypid.daemon.state import StatePaths
    from pypid.daemon.stores import Stores
    from pypid.databases.places import Place
    from pypid.flow import World
    from pypid.jobs.backup.backup_reader import BackupFile, BackupMember
    from pypid.jobs.backup.storage_restore import StorageRestore
    from pypid.jobs.storage_lease import StorageLease
    from pypid.wiring.storage import OpenedStorage

EXAMPLES = """\
  pypid restore /backup/index.tar.gz
      into the folders, bucket and database of the configuration

  pypid restore /backup/index.tar.gz --config /etc/pypid/pypid.ini
      on a new machine: writes the configuration of the backup to that file

  pypid restore /backup/index.tar.gz --into /srv/copy
      a copy in one folder, with a configuration of its own: pypid.ini

  pypid restore /backup/index.tar.gz --drill
      starts a copy on 127.0.0.1, compares all its pages with the backup, logs in,
      and removes the copy; exits with 1 if anything differs

pypid must not run while it is restored. All hashes are compared before anything
is written. A restore that did not end can be repeated; until then pypid does not
start. A backup without package files needs them in the storage already.
"""
STATE_ONLY, STORAGE_ONLY = "state", "storage"
DERIVED = (
    "snapshot",
    "spool",
    "metrics",
    "catalog.db",
    "catalog.db-wal",
    "catalog.db-shm",
    "search.sqlite",
    "search.sqlite-wal",
    "search.sqlite-shm",
)
"""What pypid makes again from the storage; of another index it would be wrong."""


def add(commands: Any) -> None:
    """Declare the `restore` command."""
    about = "restore an index from a backup"
    command = add_command(commands, "restore", _restore, about, config=True, examples=EXAMPLES)
    command.add_argument("file", metavar="FILE", type=Path, help="of `pypid backup create`")
    where = command.add_mutually_exclusive_group()
    where.add_argument(
        "--into", metavar="FOLDER", type=Path, help="restore a copy into this folder"
    )
    where.add_argument(
        "--drill", action="store_true", help="start a copy, compare all its pages, and remove it"
    )
    command.add_argument(
        "--only",
        choices=(STATE_ONLY, STORAGE_ONLY),
        help="restore only the accounts and the audit log (state), or only what is in the storage",
    )
    command.add_argument(
        "--force",
        action="store_true",
        help="replace what is there; files of the state folder are moved aside",
    )


def _restore(options: argparse.Namespace) -> int:
    if options.drill and options.only:
        raise CannotStart("A drill compares the whole copy: leave out --only, or --drill.")
    backup = opened_backup(options.file, options.config)
    progress = JobProgress("verify")
    try:
        totals = backup.verify(progress.show)
    finally:
        progress.clear()
    if options.drill:
        copy = partial(_restore_copy, options, backup)
        return run_drill(options, configuration_of(backup), copy)
    if options.into is None:
        file, config = existing_or_new(options.config, backup), None
    else:
        file, config = copy_config(options.into.absolute(), backup, options.force)
    target = _Target.of(file, config)
    job = _Restore(options, backup, target)
    job.perform()
    if options.json:
        print_json({"configuration": str(file), **job.summary()})
    else:
        print(
            f"Restored {counted(totals.members, 'object')} of "
            f"{counted(totals.projects, 'project')}."
        )
        print(f"Start it: pypid serve --config {file}")
    return 0


def _restore_copy(
    options: argparse.Namespace,
    backup: BackupFile,
    folder: Path,
    values: Mapping[tuple[str, str], str | None],
) -> Path:
    """Restore the documents and databases into an empty folder; return its configuration file."""
    from pypid.jobs.backup.storage_restore import is_document_of_record

    file, config = copy_config(folder, backup, False, values)
    job = _Restore(options, backup, _Target.of(file, config), is_document_of_record)
    job.perform()
    return file


# --- the data -------------------------------------------------------------------------------------


@frozen
class _Target:
    """The installation that is restored. `environ` is that of its configuration."""

    config: Config
    paths: StatePaths

    @classmethod
    def of(cls, file: Path, config: Config | None) -> _Target:
        """Return the target of a configuration file; `config` is that of a copy. Raises
        `BadConfig`.
        """
        from pypid.daemon.state import where
        from pypid.wiring.configuration import load_config

        if config is not None:
            return cls(config, where(config, {}))
        found = load_config(file)
        return cls(found, where(found, os.environ))


@define(eq=False)
class _Restore:
    """One restore. While it writes, the state folder is locked and has a file that says so."""

    options: argparse.Namespace
    backup: BackupFile
    target: _Target
    is_wanted: Callable[[BackupMember], bool] = lambda member: True
    progress: JobProgress = field(factory=lambda: JobProgress("restore"), init=False)
    done: int = field(default=0, init=False)
    size: int = field(default=0, init=False)
    repeated: bool = field(default=False, init=False)
    state: RestoredState = field(init=False)
    lease: StorageLease | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        from pypid.cli.restored_state import RestoredState

        backup_id, only = self.backup.header().id, self.options.only or ""
        self.state = RestoredState(self.target.paths.state, backup_id, only)

    def summary(self) -> dict[str, Any]:
        """Return what was restored, for JSON."""
        aside = None if self.state.aside is None else str(self.state.aside)
        return {
            "state": str(self.target.paths.state),
            "members": self.done,
            "size": self.size,
            "moved_aside": aside,
        }

    def perform(self) -> None:
        """Restore. Raises `PypidError`."""
        from twisted.internet import reactor

        from pypid.cli.restored_state import is_unfinished
        from pypid.daemon.state import open_state
        from pypid.wiring.platform import the_world
        from pypid.wiring.single_command import run

        folder, world = self.target.paths.state, the_world(reactor)
        _must_be_its_owner(folder)
        state = open_state(folder, restoring=True)
        try:
            self.repeated = is_unfinished(folder)
            self.state.check_scope()
            if not self.options.force:
                self.state.check()
            run(reactor, lambda: self._write(world, reactor))
            self.state.end()
        except OSError as error:
            raise CannotStart(
                f"The restore failed: {error.strerror or error}. Run the same command again."
            ) from None
        finally:
            self.progress.clear()
            state.release()

    async def _write(self, world: World, reactor: Any) -> None:
        from pypid.daemon.stores import open_stores
        from pypid.jobs.backup.storage_restore import StorageRestore

        storage = await self._open_storage(world, reactor)
        stores = open_stores(self.target.config, self.target.paths, world, reactor)
        restoring = (
            None
            if storage is None
            else StorageRestore(storage.blobs, world, storage.duplicating, storage.describing)
        )
        try:
            await self._refuse_to_overwrite(world, storage, places_of(stores))
            await self._begin(world)
            await self._write_members(world, restoring, places_of(stores))
            if restoring is not None:
                await restoring.ended()
            await self._note(world, stores)
        except BaseException:
            if restoring is not None:
                await restoring.cancel()
            raise
        finally:
            if storage is not None:
                await storage.close()
            await stores.journal.close()
            for database in stores.databases:
                await database.close()
            stores.threads.stop()

    async def _open_storage(self, world: World, reactor: Any) -> OpenedStorage | None:
        """Return the storage, unless the state alone is restored; its `close` ends the lease of a
        bucket. Raises `CannotStart`.
        """
        from pypid.wiring.bucket import leased
        from pypid.wiring.storage import open_storage

        if self.options.only == STATE_ONLY:
            return None
        config, paths = self.target.config, self.target.paths
        opened = await open_storage(config, paths, world, reactor)
        storage, lease = await world.blocking(leased, config, paths, opened, None, world)
        if lease is None:
            return storage
        self.lease = lease

        async def close() -> None:
            await lease.end()
            await opened.close()

        return evolve(storage, close=close)

    async def _begin(self, world: World) -> None:
        """Remove what the restore replaces. Until it has ended, pypid does not start. Raises
        `StorageInUse`, before that.
        """
        from pypid.jobs.storage_lease import OUTLASTING

        if self.lease is not None:
            await self.lease.look()
            if not self.lease.is_held:
                print("pypid: waiting for another pypid's lease of the storage", file=sys.stderr)
            await self.lease.permit(OUTLASTING)
        await world.blocking(self.state.begin, world.now())
        if self.options.only != STATE_ONLY:
            await world.blocking(_remove, self.target.paths.state, DERIVED)

    async def _refuse_to_overwrite(
        self, world: World, storage: OpenedStorage | None, places: Mapping[str, Place]
    ) -> None:
        """Raise `CannotStart` if the storage has records, or a server has accounts, unless
        `--force` is set or an earlier restore did not end.
        """
        from pypid.access.sql.copies import DATABASES, has_accounts
        from pypid.databases.places import Server
        from pypid.jobs.backup.storage_restore import first_record

        if self.options.force or self.repeated:
            return
        place = places[DATABASES[0]]
        is_server = self.options.only != STORAGE_ONLY and isinstance(place, Server)
        if is_server and await world.blocking(has_accounts, place):
            raise CannotStart(
                "The database of [access] url has accounts. With --force they are replaced."
            )
        if storage is not None:
            record = await first_record(storage.blobs)
            if record is not None:
                raise CannotStart(
                    f"The storage has records, {record} among them. To restore the accounts alone, "
                    "use --only state. With --force the records are replaced by those of the "
                    "backup; others stay."
                )

    async def _write_members(
        self, world: World, storage: StorageRestore | None, places: Mapping[str, Place]
    ) -> None:
        from pypid.jobs.backup.backup_file import DATABASES, STATE, STORAGE
        from pypid.jobs.backup.records import put

        members = self.backup.members()
        databases: dict[str, Path] = {}
        while (member := await world.blocking(next, members, None)) is not None:
            if member.path.startswith(STORAGE):
                if storage is not None and self.is_wanted(member):
                    await storage.put(member)
            elif self.options.only == STORAGE_ONLY:
                continue
            elif member.path.startswith(DATABASES):
                name = member.path.removeprefix(DATABASES).removesuffix(".db")
                if name in places:
                    databases[name] = await world.blocking(self._extract, member, places[name])
            elif member.path.startswith(STATE):
                name = member.path.removeprefix(STATE)
                await world.blocking(put, self.target.paths.state, name, member.whole())
            self.done, self.size = self.done + 1, self.size + member.size
            self.progress.show(self.done, self.size)
        if databases:
            await world.blocking(_fill_server, places, databases)

    def _extract(self, member: BackupMember, place: Place) -> Path:
        """Write a database to its place, or for a server to a temporary file; return its path."""
        from pypid.databases.places import Server
        from pypid.jobs.backup.backup_file import DATABASES, PIECE
        from pypid.jobs.backup.records import put_pieces

        name = member.path.removeprefix(DATABASES)
        if isinstance(place, Server):
            path = self.target.paths.state / f".restored-{name}"
        else:
            path = place.path
            _remove(path.parent, [f"{path.name}{end}" for end in ("-wal", "-shm", "-journal")])
        put_pieces(path.parent, path.name, iter(lambda: member.read(PIECE), b""))
        return path

    async def _note(self, world: World, stores: Stores) -> None:
        """Note the restore in the audit log, if there is one."""
        if places_of(stores)["journal"].is_there():
            made = {"made": self.backup.header().made.isoformat()}
            entry = operator_entry(world.now(), "restore", self.backup.header().id, made)
            await stores.journal.note(entry)


def _fill_server(places: Mapping[str, Place], databases: Mapping[str, Path]) -> None:
    """Copy the databases to their server, if they are on one, and remove the files."""
    from pypid.access.sql.copies import restore_server
    from pypid.databases.places import Server

    server = next(iter(places.values()))
    if isinstance(server, Server):
        try:
            restore_server(server, databases)
        finally:
            for path in databases.values():
                path.unlink(missing_ok=True)


def _must_be_its_owner(folder: Path) -> None:
    """Raise `CannotStart` for root, if the folder belongs to another user: pypid could not read the
    files.
    """
    from pypid.daemon.state import owner_of

    with suppress(FileNotFoundError):
        if os.geteuid() == 0 and folder.stat().st_uid != 0:
            raise CannotStart(
                f"The state folder {folder} belongs to {owner_of(folder)}: run this command as "
                "that user, for example with sudo -u."
            )


def _remove(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
