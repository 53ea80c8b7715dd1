"""The names of users and groups that exist, for warnings about names that do not."""

from __future__ import annotations

from collections.abc import Iterator

from pypid.access.sql.account_names import StoredNames, read_names
from pypid.core.configuration.choices import AccessStore
from pypid.core.configuration.doubts import AccountNames, configured_names
from pypid.core.configuration.parse import Config
from pypid.core.errors import CannotStart
from pypid.daemon.identities import DORMANT
from pypid.daemon.state import StatePaths
from pypid.daemon.stores import accounts_place
from pypid.databases.faults import DatabaseAway, DatabaseUnusable
from pypid.wiring.checks.finding import ConfigFinding


def account_names(config: Config, paths: StatePaths) -> AccountNames | None:
    """Return the names of the configuration and of the accounts database; None if other sources
    have users too, or the database cannot be read. Blocks.
    """
    if not {AccessStore.CONFIG, AccessStore.SQL}.issuperset(config.access.backend):
        return None
    own = configured_names(config)
    if AccessStore.SQL not in config.access.backend:
        return own
    try:
        stored = stored_names(config, paths)
    except (CannotStart, DatabaseAway, DatabaseUnusable):
        return None
    return AccountNames(own.users | stored.users, own.groups | stored.groups)


def dormant_accounts(config: Config, paths: StatePaths) -> Iterator[ConfigFinding]:
    """Yield a warning if `[access] backend` is not set and its default does not let the accounts
    that exist log in. Blocks.
    """
    if config.is_set("access", "backend"):
        return
    try:
        stored = stored_names(config, paths)
    except DatabaseUnusable as error:
        yield ConfigFinding("access", "url", str(error), is_warning=True)
        return
    except (CannotStart, DatabaseAway):
        return
    if not stored.allows_logins:
        yield ConfigFinding("access", "backend", DORMANT, is_warning=True)


def stored_names(config: Config, paths: StatePaths) -> StoredNames:
    """Return the names in the accounts database. Blocks. Raises `CannotStart`, `DatabaseAway` and
    `DatabaseUnusable`.
    """
    return read_names(accounts_place(config, paths))
