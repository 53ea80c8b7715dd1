"""That somebody is left who may administer the index, whoever is removed, disabled or made no
administrator any more.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from pypid.core.accounts.entries import AccountStatus
from pypid.core.errors import LastAdmin, PeopleUnknown
from pypid.web.app.app import App

T = TypeVar("T")


async def keeping_an_admin(face: App, without: str | None, change: Coroutine[Any, Any, T]) -> T:
    """Do the change after which `without` is no administrator any more (None: it takes nothing
    away).

    One such change at a time, so that two administrators cannot remove each other. Raises
    `LastAdmin`, and `PeopleUnknown` where it cannot be told; then nothing is changed.
    """
    try:
        async with face.known.turns:
            if (
                without is not None
                and await _is_admin(face, without)
                and not await _others(face, without)
            ):
                raise LastAdmin(without)
            return await change
    finally:
        change.close()


async def _is_admin(face: App, user: str) -> bool:
    """Whether somebody who can log in as `user` is an administrator."""
    found = await face.known.find(user)
    return found is not None and found.admin


async def _others(face: App, without: str) -> bool:
    accounts = {
        account.name
        for account in await face.accounts.users()
        if account.admin and account.standing is AccountStatus.ACTIVE
    }
    away: PeopleUnknown | None = None
    for user in sorted((face.known.configured().admins | accounts) - {without}):
        try:
            if await _is_admin(face, user):
                return True
        except PeopleUnknown as error:
            away = error
    if away is not None:
        raise away
    return False
