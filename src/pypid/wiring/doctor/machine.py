"""Checks of this machine: packages, limits, folders, administrators, backup. All of it blocks."""

from __future__ import annotations

import os
import shutil
import ssl
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from tempfile import TemporaryFile
from typing import Any

from attrs import frozen

from pypid import __version__
from pypid.access.first_admin import read_admin
from pypid.advisories.database import FILE as ADVISORIES
from pypid.advisories.database import AdvisoryDatabase
from pypid.advisories.index import time_of
from pypid.catalog.dump_folder import DumpFolder, StoredShard
from pypid.core.configuration.choices import AccessStore, CatalogStore, StorageBackend
from pypid.core.configuration.parse import Config
from pypid.core.errors import CannotStart, Unreadable
from pypid.daemon.state import StatePaths
from pypid.databases.faults import DatabaseAway, DatabaseUnusable
from pypid.flow.internals import TESTED, version, version_obstacle
from pypid.web.fastpath.os.availability import obstacle
from pypid.wiring.checks.account_names import stored_names
from pypid.wiring.checks.file_access import exists
from pypid.wiring.doctor.report import Area, CheckResult

DESCRIPTORS = 4096
"""Open files that a server for a team should be allowed."""
LITTLE_SPACE = 1 << 30
NO_SPACE = 100 << 20
"""Bytes free below which a result is a warning, or a problem."""
OLD_ADVISORIES = timedelta(days=1)
_OTHERS = 0o077


@frozen
class MachineChecks:
    """Checks that need no network."""

    config: Config
    paths: StatePaths
    reactor: Any
    now: datetime

    def versions(self) -> Iterator[CheckResult]:
        """Compare the installed packages with those that the tests ran with."""
        area = Area("versions")
        python = ".".join(map(str, sys.version_info[:3]))
        yield area.ok(f"pypid {__version__}, Python {python}, {ssl.OPENSSL_VERSION}")
        for package, (first, last) in TESTED.items():
            if version_obstacle(package) is None:
                yield area.ok(f"{package} {version(package)}")
            else:
                yield area.warning(
                    f"{package} {version(package)} is untested",
                    f"Install {package} {first} to {last}.",
                )
        if not self.config.server.fast_path:
            yield area.ok("the fast path is off: [server] fast_path = no")
        elif reason := obstacle(self.reactor):
            yield area.warning(
                f"the fast path is off: {reason}",
                "pypid works, but serves fewer requests per second.",
            )
        else:
            yield area.ok("the fast path is on")

    def limits(self) -> Iterator[CheckResult]:
        """Check how many files this process may open."""
        area, limit = Area("limits"), getrlimit(RLIMIT_NOFILE)[0]
        if limit == RLIM_INFINITY or limit >= DESCRIPTORS:
            yield area.ok(f"{'unlimited' if limit == RLIM_INFINITY else limit} file descriptors")
        else:
            yield area.warning(
                f"{limit} file descriptors; each connection needs one, or two",
                f"Raise the limit to {DESCRIPTORS} or more: LimitNOFILE= in the systemd unit, "
                "or ulimit -n.",
            )

    def folders(self) -> Iterator[CheckResult]:
        """Write to the state folder and the storage folder, and check their rights and space."""
        yield from _folder("state", self.paths.state, is_private=True)
        if self.paths.storage is not None:
            yield from _folder("storage", self.paths.storage, is_private=False)
        elif self.config.storage.backend is StorageBackend.MEMORY:
            yield Area("storage").warning(
                "files are stored in memory, and are lost when pypid stops",
                "Set [storage] backend = files or s3.",
            )

    def catalog_dump(self) -> Iterator[CheckResult]:
        """Check the catalog dumps of a single process: of local and upstream projects, also those
        of named indexes and named upstreams.
        """
        if self.config.catalog.backend is not CatalogStore.MEMORY:
            return
        area, paths = Area("catalog"), self.paths
        found = dict[Path, str | None]()
        for folder in (
            paths.snapshot,
            paths.their_snapshot,
            paths.named_snapshot,
            paths.named_their_snapshot,
        ):
            with suppress(FileNotFoundError):
                found[folder] = _damage(folder)
        for damage in filter(None, found.values()):
            yield area.warning(damage, "The next start reads the whole storage. Nothing is lost.")
        if paths.snapshot not in found:
            yield area.ok("no catalog dump yet: the next start reads the storage")
        elif not any(found.values()):
            yield area.ok(f"the catalog dump in {paths.snapshot} is whole")

    def administrators(self) -> Iterator[CheckResult]:
        """Check that an administrator can log in."""
        area, access = Area("accounts"), self.config.access
        try:
            record = read_admin(self.paths.state)
            stored = stored_names(self.config, self.paths)
        except (CannotStart, Unreadable, DatabaseAway, DatabaseUnusable) as error:
            yield area.problem(
                f"the accounts cannot be read: {error}", "Restore them, or correct [access] url."
            )
            return
        is_named = self.config.is_set("access", "backend")
        log_in = AccessStore.SQL in access.backend and (is_named or stored.allows_logins)
        admins = set(access.admins) & (set(self.config.users) | (stored.users if log_in else set()))
        if log_in:
            admins |= stored.admins
        if record is not None:
            admins.add(record.user)
        if admins:
            yield area.ok(f"administrators: {', '.join(sorted(admins)[:5])}")
        elif {AccessStore.LDAP, AccessStore.REMOTE} & set(access.backend):
            yield area.ok("administrators come from the directory or the service")
        elif not self.config.users:
            yield area.ok("the first start creates the administrator admin")
        else:
            yield area.problem(
                "no administrator can log in",
                "Create one: pypid user create NAME --admin; or list a user in [access] admins.",
            )

    def advisories(self) -> Iterator[CheckResult]:
        """Check when the sources of advisories were last read; nothing if there are none."""
        area, wanted = Area("advisories"), self.config.advisories
        if wanted.source is None and wanted.own is None:
            return
        advice = "Check [advisories] source and own; the log has the reason."
        facts = AdvisoryDatabase(self.paths.state / ADVISORIES).meta()
        failure, loaded = facts.get("failure"), time_of(facts.get("loaded"))
        if failure:
            yield area.warning(f"the last read failed: {failure}", advice)
        if loaded is None:
            yield area.warning("they have not been read yet", "Start pypid.")
        elif self.now - loaded > OLD_ADVISORIES:
            yield area.warning(f"they were last read at {loaded:%Y-%m-%d %H:%M} (UTC)", advice)
        elif not failure:
            yield area.ok(f"read at {loaded:%Y-%m-%d %H:%M} (UTC)")

    def backup(self) -> Iterator[CheckResult]:
        """Check whether the accounts and records have a copy elsewhere."""
        area = Area("backup")
        if self.config.storage.backend is StorageBackend.S3 and self.config.server.secret:
            yield area.ok(
                "accounts and records are copied to the bucket, sealed with [server] secret"
            )
        else:
            yield area.warning(
                "accounts and records are on this machine only",
                "Schedule `pypid backup create`, and store its files on another machine.",
            )


def _damage(folder: Path) -> str | None:
    """Return a description of the damage to the dump in a folder, or None. Raises
    `FileNotFoundError` if there is none.
    """
    try:
        manifest = DumpFolder(str(folder)).manifest()
    except (Unreadable, OSError) as error:
        return f"the catalog dump in {folder} cannot be read: {error}"
    if manifest is None:
        raise FileNotFoundError(folder)
    lost = [each.file for each in manifest.shards.values() if not _is_whole(folder, each)]
    if lost:
        return f"{len(lost)} files of the catalog dump in {folder} are missing or damaged"
    return None


def _is_whole(folder: Path, shard: StoredShard) -> bool:
    """Return whether the file of a shard has its size."""
    path = folder / shard.file
    return path.is_file() and path.stat().st_size == shard.size


def _folder(name: str, folder: Path, *, is_private: bool) -> Iterator[CheckResult]:
    """Check one folder; of one that does not exist the folder that it will be created in."""
    area = Area(name)
    existing = next(each for each in (folder, *folder.parents) if exists(each))
    if existing == folder:
        try:
            with TemporaryFile(dir=folder) as file:
                file.write(b"pypid doctor")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            yield area.problem(
                f"{folder} cannot be written: {error.strerror}",
                "Give the user that runs pypid the right to write there, or free space.",
            )
            return
        yield area.ok(f"{folder} can be written")
        if is_private and folder.stat().st_mode & _OTHERS:
            yield area.warning(
                f"other users of this machine can enter {folder}", f"Run: chmod 700 {folder}"
            )
    else:
        yield area.ok(f"{folder} will be created in {existing}")
    free = shutil.disk_usage(existing).free
    text = f"{free >> 20} MiB free in {existing}"
    if free < NO_SPACE:
        yield area.problem(text, "Free space: pypid refuses uploads on a full disk.")
    elif free < LITTLE_SPACE:
        yield area.warning(text, "Free space, or set [upstream] max_cache.")
    else:
        yield area.ok(text)
