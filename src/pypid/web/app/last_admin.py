"""Protection of the last administrator: at least one must remain when users are removed, disabled
or lose administrator rights.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from pypid.core.accounts.entries import AccountStatus
from pypid.core.errors import LastAdmin, PeopleUnknown
from pypid.web.app.app import App

T = TypeVar("T")


async def keeping_an_admin(app: App, without: str | None, change: Coroutine[Any, Any, T]) -> T:
    """Run the change after which `without` is no longer an administrator (None: no administrator is
    removed).

    One such change runs at a time, so that two administrators cannot remove each other. Raises
    `LastAdmin`, and `PeopleUnknown` if the remaining administrators cannot be determined; then
    nothing is changed.
    """
    try:
        async with app.known.turns:
            if (
                without is not None
                and await _is_admin(app, without)
                and not await _others(app, without)
            ):
                raise LastAdmin(without)
            return await change
    finally:
        change.close()


async def _is_admin(app: App, user: str) -> bool:
    """Return whether a user of this name can log in and is an administrator."""
    found = await app.known.find(user)
    return found is not None and found.admin


async def _others(app: App, without: str) -> bool:
    accounts = {
        account.name
        for account in await app.accounts.users()
        if account.admin and account.hash and account.status is AccountStatus.ACTIVE
    }
    away: PeopleUnknown | None = None
    for user in sorted((app.known.configured().admins | accounts) - {without}):
        try:
            if await _is_admin(app, user):
                return True
        except PeopleUnknown as error:
            away = error
    if away is not None:
        raise away
    return False
