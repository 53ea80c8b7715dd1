"""The `backup` command: write a backup file, and verify one."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO

from attrs import define, field

from pypid import __version__
from pypid.cli.command import add_command, add_group
from pypid.cli.output import JobProgress, counted, format_size, print_json, printable

if TYPE_CHECKING:
    from pypid.core.accounts.entries import AuditAction
    from pypid.core.configuration.parse import Config
    from pypid.daemon.state import StatePaths
    from pypid.daemon.stores import Stores
    from pypid.databases.places import Place
    from pypid.flow import World
    from pypid.jobs.backup.backup_file import BackupHeader, BackupTotals, BackupWriter
    from pypid.jobs.backup.backup_reader import BackupFile
    from pypid.wiring.storage import OpenedStorage

EXAMPLES = """\
  pypid backup create /backup/                   names the file after the time
  pypid backup create /backup/index.tar.gz --files
  pypid backup create /backup/ --encrypt
  pypid backup verify /backup/index.tar.gz
  pypid restore /backup/index.tar.gz --drill

A backup contains the accounts, groups, rights, tokens and sessions, the audit
log, the download log, the records and documents of the storage, and the
configuration. With --files it also contains all package files.

A backup contains secrets: only its owner can read it (mode 0600). With
--encrypt it is encrypted with [server] secret; keep that secret elsewhere.
"""
CREATE_EXAMPLES = """\
  pypid backup create /backup/
  pypid backup create /backup/index.tar.gz --files --no-cache
  pypid backup create /backup/ --encrypt
"""
VERIFY_EXAMPLES = """\
  pypid backup verify /backup/index.tar.gz
  PYPID_SERVER_SECRET=... pypid backup verify /backup/index.tar.gz.encrypted
"""
CREATE = (
    "Write a backup of this index, whether it runs or not. Everything that was published or "
    "changed before the command begins is in the backup; uploads may continue meanwhile. The file "
    "contains secrets, those of the configuration among them: its mode is 0600. Exits with 1 if "
    "the storage lacks the content of a file, or has damaged content; everything else is in the "
    "backup then."
)


def add(commands: Any) -> None:
    """Declare the `backup` command."""
    about = "write a backup of the index, or verify one"
    group = add_group(commands, "backup", about, examples=EXAMPLES)
    create = add_command(
        group,
        "create",
        _create,
        "write a backup file",
        config=True,
        description=CREATE,
        examples=CREATE_EXAMPLES,
    )
    create.add_argument(
        "target", metavar="FILE|FOLDER", type=Path, help="the file to write, or its folder"
    )
    create.add_argument(
        "--files", action="store_true", help="include all package files, cached ones too"
    )
    create.add_argument(
        "--no-cache", action="store_true", help="with --files: leave out cached upstream files"
    )
    create.add_argument(
        "--encrypt", action="store_true", help="encrypt the backup with [server] secret"
    )
    create.add_argument("--force", action="store_true", help="replace an existing file")
    verify = add_command(
        group,
        "verify",
        _verify,
        "read a backup, compare all hashes, and print what it contains",
        config=True,
        examples=VERIFY_EXAMPLES,
    )
    verify.add_argument("file", metavar="FILE", type=Path)


# --- create ---------------------------------------------------------------------------------------


def _create(options: argparse.Namespace) -> int:
    from twisted.internet import reactor

    from pypid.core.errors import CannotStart
    from pypid.daemon.state import where
    from pypid.wiring.configuration import load_config
    from pypid.wiring.platform import the_world
    from pypid.wiring.single_command import run

    config = load_config(options.config)
    paths = where(config, os.environ)
    if not (os.access(paths.state, os.R_OK) and paths.state.is_dir()):
        raise CannotStart(
            f"There is nothing to back up: the state folder {paths.state} does not exist, or "
            "cannot be entered."
        )
    if options.encrypt and not config.server.secret:
        raise CannotStart(
            "--encrypt needs a [server] secret. `pypid gen-secret` prints one. Keep a copy of it "
            "elsewhere: the backup cannot be read without it."
        )
    world = the_world(reactor)
    made = world.now()
    path = _path_of(options, made)
    job = _Creation(options, path, config, paths, world, reactor, made)
    with _new_file(path, options.force) as target:
        totals = run(reactor, lambda: job.write(target))
    _remember(paths.state, job)
    _report(options, path, job, totals)
    return 1 if totals.problems else 0


def _path_of(options: argparse.Namespace, made: datetime) -> Path:
    """Return the file to write."""
    target: Path = options.target.absolute()
    if not target.is_dir():
        return target
    suffix = ".encrypted" if options.encrypt else ""
    return target / f"pypid-{made:%Y%m%dT%H%M%SZ}.tar.gz{suffix}"


@contextmanager
def _new_file(path: Path, force: bool) -> Iterator[BinaryIO]:
    """Open a file for writing that gets this name, durably, if the block succeeds; mode 0600."""
    from pypid.core.errors import CannotStart
    from pypid.jobs.backup.records import held

    if path.exists() and not force:
        raise CannotStart(f"{path} exists. Name another file, or replace it with --force.")
    part = path.with_name(f".{path.name}.{token_hex(4)}.part")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(part, flags, 0o600), "wb") as file, held(part):
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise CannotStart(
            f"{path} cannot be written: the folder {path.parent} does not exist. Create it first."
        ) from None
    except OSError as error:
        raise CannotStart(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@define(eq=False)
class _Creation:
    """One backup. The databases are copied last: a right that was given while it runs is in it."""

    options: argparse.Namespace
    path: Path
    config: Config
    paths: StatePaths
    world: World
    reactor: Any
    made: datetime
    progress: JobProgress = field(factory=lambda: JobProgress("backup"), init=False)
    header: BackupHeader = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.header = self._header()

    async def write(self, target: BinaryIO) -> BackupTotals:
        """Write the backup. Raises `PypidError`, `OSError`."""
        from msgspec.structs import replace

        from pypid.daemon.stores import open_stores
        from pypid.jobs.backup.backup_file import BackupWriter
        from pypid.jobs.backup.records import remove_abandoned
        from pypid.jobs.backup.stored_objects import format_of
        from pypid.wiring.storage import open_storage

        for folder in {self.path.parent, self._room}:
            await self.world.blocking(remove_abandoned, folder, self.path.name, self.made)
        storage = await open_storage(self.config, self.paths, self.world, self.reactor)
        stores = open_stores(self.config, self.paths, self.world, self.reactor)
        try:
            format = await format_of(storage.blobs, files=self.options.files)
            self.header = replace(self.header, format=format)
            secret = self.config.server.secret if self.options.encrypt else None
            writer = BackupWriter(target, self.header, secret, self.world.random)
            totals = await self._write(writer, storage, stores)
            await self._note(stores, totals)
        finally:
            self.progress.clear()
            await storage.close()
            await stores.journal.close()
            for database in stores.databases:
                await database.close()
            stores.threads.stop()
        return totals

    async def _write(
        self, writer: BackupWriter, storage: OpenedStorage, stores: Stores
    ) -> BackupTotals:
        from pypid.jobs.backup.backup_file import BackupTotals
        from pypid.jobs.backup.storage_backup import StorageCapture

        await self.world.blocking(self._add_configuration, writer)
        capture = StorageCapture(
            storage.blobs,
            writer,
            self.world,
            self.options.files,
            not self.options.no_cache,
            storage.describing,
            lambda: self.progress.show(writer.members, writer.size),
        )
        await capture.capture()
        databases = await self.world.blocking(self._add_state, writer, stores)
        totals = BackupTotals(
            members=writer.members,
            size=writer.size,
            projects=capture.projects,
            files=capture.file_count,
            databases=tuple(databases),
            problems=tuple(capture.problems),
        )
        await self.world.blocking(writer.finish, totals)
        return totals

    def _header(self) -> BackupHeader:
        from pypid.daemon.state import files_of
        from pypid.jobs.backup.backup_file import BackupHeader

        return BackupHeader(
            id=self.world.random(8).hex(),
            made=self.made,
            pypid=__version__,
            includes_files=self.options.files,
            includes_cache=self.options.files and not self.options.no_cache,
            storage=files_of(self.config, self.paths),
            configuration=str(self.paths.ini),
            environment=tuple(sorted(name for name in os.environ if name.startswith("PYPID_"))),
        )

    def _add_configuration(self, writer: BackupWriter) -> None:
        from pypid.jobs.backup.backup_file import CONFIGURATION
        from pypid.wiring.configuration import config_text

        if text := config_text(self.paths.ini):
            writer.add(CONFIGURATION, text)

    @property
    def _room(self) -> Path:
        """The folder for copies of the databases: that of the backup, which must not have them if
        the backup is encrypted.
        """
        return self.paths.state if self.options.encrypt else self.path.parent

    def _add_state(self, writer: BackupWriter, stores: Stores) -> list[str]:
        """Add the databases and the other files of record; return the names of the databases.
        The files first: the record of the first administrator may say that a database has it.
        """
        from pypid.access.sql.copies import copy_databases
        from pypid.jobs.backup.backup_file import DATABASES, OTHER_FILES, STATE
        from pypid.jobs.backup.records import DATABASE_COPIES, held

        for name in OTHER_FILES:
            with suppress(FileNotFoundError):
                writer.add(STATE + name, (self.paths.state / name).read_bytes())
        with (
            TemporaryDirectory(dir=self._room, prefix=DATABASE_COPIES) as folder,
            held(Path(folder)),
        ):
            copies = copy_databases(places_of(stores), Path(folder))
            for name, path in copies.items():
                with path.open("rb") as file:
                    writer.add_file(f"{DATABASES}{name}.db", file)
        return list(copies)

    async def _note(self, stores: Stores, totals: BackupTotals) -> None:
        """Note the backup in the audit log, if there is one."""
        if places_of(stores)["journal"].is_there():
            details = {"projects": str(totals.projects), "size": str(totals.size)}
            await stores.journal.note(operator_entry(self.made, "backup", self.header.id, details))


def places_of(stores: Stores) -> dict[str, Place]:
    """Return the places of the databases by name; on a server all have one."""
    from pypid.access.sql.copies import DATABASES

    places = [database.place for database in stores.databases]
    return dict(zip(DATABASES, places * len(DATABASES), strict=False))


def operator_entry(
    when: datetime, what: AuditAction, subject: str, details: Mapping[str, str]
) -> Any:
    """Return an audit entry for an action of the system account that runs this command."""
    from pypid.core.accounts.entries import AuditEntry
    from pypid.daemon.control import account

    return AuditEntry(
        when=when, who=f"operator/{account()}", what=what, subject=subject, details=details
    )


def _remember(state: Path, job: _Creation) -> None:
    """Note in the state folder when the last backup was made."""
    import msgspec

    from pypid.jobs.backup.records import LAST_BACKUP, put

    document = {"made": job.made, "file": str(job.path)}
    try:
        found = state.stat()
        # pypid reads it as another user than root
        owner = (found.st_uid, found.st_gid) if os.geteuid() == 0 else None
        put(state, LAST_BACKUP, msgspec.json.encode(document), owner)
    except OSError as error:
        print(f"pypid: {state / LAST_BACKUP} cannot be written: {error.strerror}", file=sys.stderr)


def _report(options: argparse.Namespace, path: Path, job: _Creation, totals: BackupTotals) -> None:
    if options.json:
        print_json(_document(path, job.header, totals))
    else:
        size = format_size(path.stat().st_size)
        print(f"{path}: {_content(totals)}, {size}.")
        if not options.files:
            print("Package files are not included (--files).")
    for problem in totals.problems:
        print(f"pypid: not in the backup: {printable(problem)}", file=sys.stderr)


def _content(totals: BackupTotals) -> str:
    return f"{counted(totals.projects, 'project')}, {counted(totals.members, 'object')}"


# --- verify ---------------------------------------------------------------------------------------


def _verify(options: argparse.Namespace) -> None:
    backup = opened_backup(options.file, options.config)
    progress = JobProgress("verify")
    try:
        totals = backup.verify(progress.show)
    finally:
        progress.clear()
    header = backup.header()
    if options.json:
        print_json(_document(options.file, header, totals))
        return
    age = datetime.now(UTC) - header.made
    rows = {
        "made": f"{header.made:%Y-%m-%d %H:%M:%S} UTC, {_age(age.total_seconds())} ago",
        "by": f"pypid {header.pypid}",
        "storage": header.storage,
        "projects": str(totals.projects),
        "package files": _files(header, totals),
        "databases": ", ".join(totals.databases) or "none",
        "encrypted": "no" if backup.secret is None else "yes",
        "content": f"{counted(totals.members, 'object')}, {format_size(totals.size)}",
    }
    if header.environment:
        rows["not included"] = f"the values of {', '.join(header.environment)}"
    for name, text in rows.items():
        print(f"{name + ':':<15}{printable(text)}")
    for problem in totals.problems:
        print(f"not in the backup: {printable(problem)}")
    print("All hashes are correct.")


def opened_backup(path: Path, config: Path) -> BackupFile:
    """Return the backup. An encrypted one is read with [server] secret, from the environment or
    from the configuration, if it exists.
    """
    from pypid.core.errors import CannotStart
    from pypid.jobs.backup.backup_reader import BackupFile, is_sealed

    try:
        if not is_sealed(path):
            return BackupFile(path)
    except OSError as error:
        raise CannotStart(f"{path} cannot be read: {error.strerror}.") from None
    return BackupFile(path, os.environ.get("PYPID_SERVER_SECRET") or _configured_secret(config))


def _configured_secret(config: Path) -> str | None:
    from pypid.core.configuration.lookup import is_built_in
    from pypid.wiring.configuration import load_config

    if is_built_in(config) or not config.exists():
        return None
    return load_config(config).server.secret


def _files(header: BackupHeader, totals: BackupTotals) -> str:
    if not header.includes_files:
        return "not included"
    cached = (
        "cached upstream files included"
        if header.includes_cache
        else "cached upstream files left out"
    )
    return f"{totals.files} ({cached})"


def _age(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return counted(int(seconds // size), unit)
    return counted(max(int(seconds), 0), "second")


def _document(path: Path, header: BackupHeader, totals: BackupTotals) -> dict[str, Any]:
    import msgspec

    return {"file": str(path), **msgspec.to_builtins(header), **msgspec.to_builtins(totals)}
