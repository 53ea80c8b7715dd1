"""Reloading: what takes effect at once, and what of the configuration waits for a restart."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from twisted.logger import Logger

from pypid import prefork
from pypid.advisories.service import Advisories
from pypid.core.accounts.entries import AuditEntry
from pypid.core.configuration.in_force import indexes_wait
from pypid.core.configuration.keys import INDEX, UPSTREAM
from pypid.core.configuration.parse import Config
from pypid.core.errors import CannotStart, PypidError
from pypid.daemon.identities import Identities
from pypid.daemon.state import StatePaths
from pypid.flow.signals import ReloadOutcome
from pypid.index.named_indexes import NamedIndexes
from pypid.wiring.configuration import load_config
from pypid.wiring.platform import Platform

_log = Logger()

_RESTART = (
    "pypicloud's people are in its database now (pypi.auth = sql), and a start takes them over: "
    "the rules of projects stand no longer in the file, and the defaults would hold till then. "
    "Restart pypid."
)
_UNCHANGED = "The users and rules that were in force stay in force."
_RELOADED = ("users", "groups", "projects", "access", "issuers", "log", "indexes", "upstreams")


async def reload(
    config: Config,
    paths: StatePaths,
    identities: Identities,
    advisories: Advisories,
    indexes: NamedIndexes,
    platform: Platform,
) -> ReloadOutcome:
    """Apply the users, the rules, the named indexes and the log level of the current file, and read
    the sources of advisories again. All other keys need a restart.

    `config` was in force at the start. A file that cannot be used changes nothing.
    """
    world, control = platform.world, platform.log_level_control
    advisories.refresh_requested.emit()
    try:
        fresh = await world.blocking(load_config, paths.ini, platform.worker_count)
        if fresh.inherits is not None and config.inherits is None:
            raise CannotStart(_RESTART)
        changed = _differing(identities.config, fresh)
        named = indexes.configured if indexes_wait(config, fresh) else fresh.indexes
        await indexes.compare_new(named)
        await identities.use(fresh)
    except PypidError as error:
        _log.error("{error}\n" + _UNCHANGED, error=error)
        return ReloadOutcome((f"{error}\n{_UNCHANGED}",))
    indexes.configure(named)
    if control is not None and control.configured != fresh.log.level.value:
        control.configure(fresh.log.level.value)
        changed.append("log-level")
    waiting = _waiting(config, fresh, applies_level=control is not None)
    waiting += _sections(INDEX, indexes.configured, fresh.indexes)
    later = f"; what changed in {', '.join(waiting)} takes effect at a restart" if waiting else ""
    _log.info(
        "[users], [groups], [projects], [access], [issuer:*] and [index:*] were read again{later}",
        later=later,
    )
    if prefork.number() == 1:  # the first worker writes the audit entry
        entry = AuditEntry(
            when=world.now(),
            who="operator",
            what="reload",
            subject=str(paths.ini),
            details={"changed": " ".join(changed)},
        )
        await identities.stores.journal.note(entry)
    return ReloadOutcome(waiting=tuple(waiting))


def _waiting(started: Config, fresh: Config, *, applies_level: bool) -> list[str]:
    """Return the sections that take effect at a restart only, spelled as in the file."""
    waiting = [f"[{name}]" for name in _differing(started, fresh) if name not in _RELOADED]
    waiting += _sections(UPSTREAM, started.upstreams, fresh.upstreams)
    log = attrs.evolve(fresh.log, level=started.log.level) if applies_level else fresh.log
    if log != started.log:
        waiting.append("[log]")
    if (fresh.access.backend, fresh.access.url) != (started.access.backend, started.access.url):
        waiting.append("[access] backend and url")
    return waiting


def _sections(kind: str, old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Return the sections of a kind that differ, spelled as in the file."""
    return [f"[{kind}{name}]" for name in {**old, **new} if old.get(name) != new.get(name)]


def _differing(old: Config, new: Config) -> list[str]:
    """Return the sections that differ."""
    before, after = (attrs.asdict(each, recurse=False) for each in (old, new))
    return [
        name
        for name in before
        if name not in ("source", "origins", "notes") and before[name] != after[name]
    ]
