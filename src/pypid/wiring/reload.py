"""Reloading: what takes effect at once, and what of the configuration waits for a restart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
from twisted.logger import Logger

from pypid import prefork
from pypid.core.accounts.entries import AuditEntry
from pypid.core.configuration.parse import Config
from pypid.core.errors import CannotStart, PypidError
from pypid.daemon import logs
from pypid.daemon.state import StatePaths
from pypid.wiring.assembly import Assembly

_log = Logger()

_RESTART = (
    "pypicloud's people are in its database now (pypi.auth = sql), and a start takes them over: "
    "the rules of projects stand no longer in the file, and the defaults would hold till then. "
    "Restart pypid."
)
_RELOADED = ("users", "groups", "projects", "access", "issuers", "log")


async def reload(
    config: Config,
    places: StatePaths,
    load: Callable[[Path], Config],
    assembly: Assembly,
    log_level_control: logs.Threshold | None,
) -> None:
    """Apply the users, the rules and the log level of the current file; all else needs a restart.

    `config` was in force at the start; `load` reads one.
    """
    people = assembly.people
    try:
        fresh = await assembly.index.world.blocking(load, places.ini)
        if fresh.inherits is not None and config.inherits is None:
            raise CannotStart(_RESTART)
        changed = _differing(people.config, fresh)
        await people.use(fresh)
    except PypidError as error:
        _log.error("{error}\nThe users and rules that were in force stay in force.", error=error)
        return
    if log_level_control is not None and log_level_control.configured != fresh.log.level.value:
        log_level_control.configure(fresh.log.level.value)
        changed.append("log-level")
    waiting = [f"[{name}]" for name in _differing(config, fresh) if name not in _RELOADED]
    if attrs.evolve(fresh.log, level=config.log.level) != config.log or (
        log_level_control is None and fresh.log != config.log
    ):
        waiting.append("[log]")
    if (fresh.access.backend, fresh.access.url) != (config.access.backend, config.access.url):
        waiting.append("[access] backend and url")
    later = f"; what changed in {', '.join(waiting)} takes effect at a restart" if waiting else ""
    _log.info(
        "[users], [groups], [projects], [access] and [issuer:*] were read again{later}", later=later
    )
    if prefork.number() != 1:  # the first worker writes the audit entry
        return
    deed = AuditEntry(
        when=assembly.index.world.now(),
        who="operator",
        what="reload-settings",
        subject=str(places.ini),
        details={"changed": " ".join(changed)},
    )
    await people.stores.journal.note(deed)


def _differing(old: Config, new: Config) -> list[str]:
    """Return the sections that differ."""
    before, after = (attrs.asdict(each, recurse=False) for each in (old, new))
    return [
        name
        for name in before
        if name not in ("source", "origins", "notes") and before[name] != after[name]
    ]
