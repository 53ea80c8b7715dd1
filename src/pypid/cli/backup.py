"""The `backup` command: copy what the state folder has of record, also while pypid runs."""

from __future__ import annotations

import argparse
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pypid.cli.grammar import argument, command
from pypid.cli.output import format_size, print_answer, printable

if TYPE_CHECKING:
    from pypid.core.configuration.parse import Config
    from pypid.daemon.identities import Stores
    from pypid.daemon.state import StatePaths
    from pypid.flow import World

DESCRIPTION = (
    "Copy the databases (accounts, audit log, download log), the keys and the configuration to a "
    "folder, whether pypid runs or not. Each database is copied as it is at one moment. The files "
    "of packages are not copied: copy the storage folder after this command, or keep versions in "
    "the bucket. The copy contains secrets: its mode is 0700."
)
EXAMPLES = """\
  pypid backup /backup/pypid
  pypid backup /backup/pypid && rsync -a --delete /var/lib/pypid/packages/ /backup/packages/

To restore, stop pypid, put the folder in the place of the state folder, and start pypid.
"""


def _backup(options: argparse.Namespace) -> None:
    from twisted.internet import reactor

    from pypid.core.errors import CannotStart
    from pypid.daemon.state import where
    from pypid.wiring.platform import load_config, the_world
    from pypid.wiring.single_command import run

    config = load_config(options.config)
    paths = where(config, os.environ)
    if not (os.access(paths.state, os.R_OK) and paths.state.is_dir()):
        raise CannotStart(
            f"There is nothing to back up: the state folder {paths.state} does not exist, or "
            "cannot be entered."
        )
    folder = options.folder.resolve()
    if folder.is_relative_to(paths.state.resolve()):
        raise CannotStart(f"{folder} is in the state folder. Name a folder on another disk.")
    world = the_world(reactor)
    try:
        answer = run(reactor, lambda: _work(config, paths, world, reactor, folder))
    except (OSError, sqlite3.Error) as error:
        raise CannotStart(f"The backup to {folder} failed: {error}.") from None
    print_answer(options, answer, _print)


def _print(answer: dict[str, Any]) -> None:
    copied = ", ".join(answer["files"])
    print(f"{printable(answer['folder'])}: {copied}; {format_size(answer['size'])}.")
    if answer["postgresql"]:
        print("The accounts are in PostgreSQL: copy them with pg_dump.")
    print(f"The files of packages are not in it: {printable(answer['storage'])}.")


async def _work(
    config: Config, paths: StatePaths, world: World, reactor: Any, folder: Path
) -> dict[str, Any]:
    """Copy everything, and note it in the audit log."""
    from pypid.core.accounts.rights import AuditEntry
    from pypid.daemon.control import account
    from pypid.daemon.identities import open_stores
    from pypid.daemon.state import files_of
    from pypid.database.places import Server

    stores = open_stores(config, paths, world, reactor)
    try:
        copied = await world.blocking(_copy, stores, paths, folder)
        if stores.databases[0].place.is_there():
            entry = AuditEntry(
                when=world.now(), who=f"operator/{account()}", what="backup", subject=str(folder)
            )
            await stores.journal.note(entry)
    finally:
        await stores.journal.close()
        for database in stores.databases:
            await database.close()
        stores.threads.stop()
    return {
        "folder": str(folder),
        "files": copied,
        "size": sum((folder / name).stat().st_size for name in copied),
        "storage": files_of(config, paths),
        "postgresql": any(isinstance(each.place, Server) for each in stores.databases),
    }


def _copy(stores: Stores, paths: StatePaths, folder: Path) -> list[str]:
    """Copy everything; return the names. Files before databases: that of the first administrator
    may say that a database has the account.
    """
    from pypid.access.config import RECORD as ADMIN
    from pypid.access.sessions import FILE as PASSWORDS_SEEN
    from pypid.access.sessions import RECORD as SESSION_KEY
    from pypid.core.configuration.lookup import is_built_in
    from pypid.daemon.identities import DOWNLOADS
    from pypid.database.places import SqliteFile
    from pypid.jobs.backup.records import ACCOUNTS, JOURNAL, LAST_BACKUP, put
    from pypid.wiring.platform import config_text

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    files = {name: paths.state / name for name in (ADMIN, SESSION_KEY, PASSWORDS_SEEN)}
    found = {name: path.read_bytes() for name, path in files.items() if path.exists()}
    if not is_built_in(paths.ini):
        found[paths.ini.name] = config_text(paths.ini)
    for name, data in found.items():
        put(folder, name, data)
    places = [database.place for database in stores.databases]
    databases = [
        place.path for place in places if isinstance(place, SqliteFile) and place.is_there()
    ]
    for path in databases:
        _copy_database(path, folder / path.name)
    copied = [*found, *(path.name for path in databases)]
    # a former copy of what is gone would bring it back: an administrator, the rights of that time
    for gone in {*files, ACCOUNTS, JOURNAL, DOWNLOADS}.difference(copied):
        (folder / gone).unlink(missing_ok=True)
    put(paths.state, LAST_BACKUP, b"")
    return copied


def _copy_database(source: Path, target: Path) -> None:
    """Copy a SQLite file as it is at one moment, also while others write to it."""
    from pypid.database.connections import BUSY, make_file

    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    make_file(part)
    address = f"{source.absolute().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(address, uri=True, timeout=BUSY)) as opened,
        closing(sqlite3.connect(part)) as copy,
    ):
        opened.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)


COMMANDS = (
    command(
        "backup",
        _backup,
        "copy accounts, logs and keys to a folder",
        argument("folder", metavar="FOLDER", type=Path, help="created if it does not exist"),
        description=DESCRIPTION,
        examples=EXAMPLES,
    ),
)
