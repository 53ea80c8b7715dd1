"""What another service says about a user: the documents of the protocol (``docs/remote.rst``),
version 1.

The status of an answer speaks of the exchange, its document of the user. So the 404 of a proxy on
the way, or the 401 that refuses our own login, can never be taken for something that is said about
somebody. No I/O here.
"""

from __future__ import annotations

from typing import Annotated, TypeVar
from unicodedata import normalize

import msgspec
from attrs import frozen

from pypid.core.permissions import Identity, account_name

MEDIA_TYPE = "application/vnd.pypid.people.v1+json"
"""Of all documents, there and back. What answers with another type speaks another protocol, or
another version of it.
"""
LONGEST_NAME = 255
"""Characters of a user's or a group's name."""
MOST_GROUPS = 1000

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_NAME)]
_Groups = Annotated[tuple[_Name, ...], msgspec.Meta(max_length=MOST_GROUPS)]
# unknown fields are refused: with "admn" for "admin" somebody would have fewer rights than was
# meant, and nobody would know why


class PasswordAccepted(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="answer", tag="right"
):
    """It knows the user, and the password is right."""

    user: _Name
    groups: _Groups = ()
    admin: bool = False


class PasswordRejected(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="answer", tag="wrong"
):
    """It knows the user, and the password is wrong, or the user may not log in."""


class KnownUser(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="answer", tag="known"
):
    """It knows the user, who may log in. Another word than `PasswordAccepted`: who asked without a
    password has proved nothing.
    """

    user: _Name
    groups: _Groups = ()
    admin: bool = False


class UnknownUser(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="answer", tag="unknown"
):
    """It does not know the user."""


@frozen
class RespelledUser:
    """It knows the user, but spells the name otherwise. Names are compared exactly here, so this is
    another one.
    """

    spelled: str


Checked = Identity | PasswordRejected | UnknownUser | RespelledUser
Found = Identity | UnknownUser | RespelledUser
S = TypeVar("S")

_CHECKED: msgspec.json.Decoder[PasswordAccepted | PasswordRejected | UnknownUser] = (
    msgspec.json.Decoder(PasswordAccepted | PasswordRejected | UnknownUser)
)
_FOUND: msgspec.json.Decoder[KnownUser | UnknownUser] = msgspec.json.Decoder(
    KnownUser | UnknownUser
)


class InvalidAnswer(Exception):
    """This is no answer. The text says why, and nothing of what was sent."""


def read_checked(asked: str, document: bytes) -> Checked:
    """The answer to ``/check`` for the user `asked`; raises `InvalidAnswer`."""
    said = _decoded(document, _CHECKED)
    return _who(asked, said) if isinstance(said, PasswordAccepted) else said


def read_found(asked: str, document: bytes) -> Found:
    """The answer to ``/find`` for the user `asked`; raises `InvalidAnswer`."""
    said = _decoded(document, _FOUND)
    return _who(asked, said) if isinstance(said, KnownUser) else said


def _decoded(document: bytes, decoder: msgspec.json.Decoder[S]) -> S:
    try:
        return decoder.decode(document)
    except msgspec.ValidationError as error:
        raise InvalidAnswer(f"its answer is not what the protocol says ({error}).") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidAnswer("its answer is no JSON.") from None


def _who(asked: str, said: PasswordAccepted | KnownUser) -> Identity | RespelledUser:
    if said.user == asked:
        # groups that no rule can name (with white space in them, say) are of no use
        return Identity(
            asked, frozenset(group for group in said.groups if can_be_called(group)), said.admin
        )
    if _folded(said.user) == _folded(asked):
        return RespelledUser(said.user)
    raise InvalidAnswer("its answer is about another user than the one that it was asked about.")


def _folded(name: str) -> str:
    return normalize("NFKC", name).casefold()


def can_be_called(name: str) -> bool:
    """Whether a user or a group can have this name."""
    try:
        account_name(name)
    except ValueError:
        return False
    return len(name) <= LONGEST_NAME
