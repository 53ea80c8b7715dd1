"""Documents of the JSON API about users."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from pypid.core.accounts.entries import AccountStatus
from pypid.web.app.descriptions import Moment


class Powers(TypedDict):
    """What is allowed, for at least one project."""

    read: bool
    publish: bool
    overwrite: bool
    delete: bool
    fetch: bool
    admin: bool
    metrics: bool


class TokenUsed(TypedDict):
    """The token that was used. `publisher`: whether it was made for a workflow."""

    id: str | None
    actions: list[str]
    projects: list[str]
    publisher: bool


class Me(TypedDict):
    """The identity of the client. `token`: the one that was used."""

    user: str | None
    groups: list[str]
    admin: bool
    token: TokenUsed | None
    may: Powers


class UserDocument(TypedDict):
    """A user. `hidden`: the configuration has another user of that name, which takes precedence."""

    name: str
    admin: bool
    status: AccountStatus
    source: Literal["database", "configuration", "elsewhere"]
    created: NotRequired[Moment]
    changed: NotRequired[Moment]
    hidden: NotRequired[bool]


class WholeUser(UserDocument):
    """One user. `warnings`: why the user cannot log in, if so."""

    groups: list[str]
    can_log_in: bool
    warnings: list[str]


class MadeUser(WholeUser):
    """A new user. `password`: one that pypid generated, which is in no other answer."""

    password: NotRequired[str]


class Users(TypedDict):
    """All users that can be listed."""

    users: list[UserDocument]
    warnings: list[str]


class NewSecret(TypedDict):
    """The result of a password change. `password`: the new one, if pypid generated it."""

    name: str
    password: NotRequired[str]
