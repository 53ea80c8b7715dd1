"""What the JSON API says of people."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from pypid.core.accounts.entries import AccountStatus
from pypid.web.app.descriptions import Moment


class Powers(TypedDict):
    """What is allowed, for some project at least."""

    read: bool
    publish: bool
    overwrite: bool
    delete: bool
    fetch: bool
    admin: bool
    metrics: bool


class TokenUsed(TypedDict):
    """The token that was used. `publisher`: the workflow that it was made for."""

    id: str | None
    actions: list[str]
    projects: list[str]
    publisher: bool


class Me(TypedDict):
    """Who asks. `token`: the one that was used."""

    user: str | None
    groups: list[str]
    admin: bool
    token: TokenUsed | None
    may: Powers


UserDocument = TypedDict(
    "UserDocument",
    {
        "name": str,
        "admin": bool,
        "standing": AccountStatus,
        "from": Literal["database", "configuration", "elsewhere"],
        "created": NotRequired[Moment],
        "changed": NotRequired[Moment],
        "hidden": NotRequired[bool],
    },
)
"""`hidden`: the configuration has another user of that name, which is asked first."""


class WholeUser(UserDocument):
    """One user. `warnings`: why nobody can log in, if so."""

    groups: list[str]
    can_log_in: bool
    warnings: list[str]


class MadeUser(WholeUser):
    """A new user. `password`: one that pypid made, which no other answer tells."""

    password: NotRequired[str]


class Users(TypedDict):
    """All that can be listed."""

    users: list[UserDocument]
    warnings: list[str]


class NewSecret(TypedDict):
    """`password`: the new one, if pypid made it."""

    name: str
    password: NotRequired[str]
