"""Answers of another service about a user: the documents of the protocol, version 1
(docs/guides/remote-users.rst).

The status of an answer is about the exchange, its document about the user. So the 404 of a proxy on
the way, or the 401 that refuses pypid's own login, is never taken for an answer about a user. No
I/O here.
"""

from __future__ import annotations

from typing import Annotated, TypeVar
from unicodedata import normalize

import msgspec
from attrs import frozen

from pypid.core.permissions import Identity, is_account_name

MEDIA_TYPE = "application/vnd.pypid.people.v1+json"
"""The type of all documents, in both directions. A service that answers with another type uses
another protocol, or another version of it.
"""
LONGEST_NAME = 255
"""Characters of a user's or a group's name."""
MOST_GROUPS = 1000

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_NAME)]
_Groups = Annotated[tuple[_Name, ...], msgspec.Meta(max_length=MOST_GROUPS)]
# unknown fields are refused: with "admn" for "admin" a user would silently have fewer rights than
# was meant


class PasswordAccepted(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="answer", tag="right"
):
    """Answer to ``/check``: the service knows the user, and the password is right."""

    user: _Name
    groups: _Groups = ()
    admin: bool = False


class PasswordRejected(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="answer", tag="wrong"
):
    """Answer to ``/check``: the service knows the user, and the password is wrong, or the user may
    not log in.
    """


class KnownUser(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="answer", tag="known"
):
    """Answer to ``/find``: the service knows the user, who may log in. Its tag is not that of
    `PasswordAccepted`, since a question without a password proves nothing.
    """

    user: _Name
    groups: _Groups = ()
    admin: bool = False


class UnknownUser(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="answer", tag="unknown"
):
    """The service does not know the user."""


@frozen
class RespelledUser:
    """The service knows the user, but spells the name otherwise. Names are compared exactly here,
    so this is another user.
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
    """The document is not a valid answer. The text gives the reason, and quotes nothing of the
    request.
    """


def read_checked(user: str, document: bytes) -> Checked:
    """Return the answer to ``/check`` for the user `user`; raises `InvalidAnswer`."""
    answer = _decoded(document, _CHECKED)
    return _who(user, answer) if isinstance(answer, PasswordAccepted) else answer


def read_found(user: str, document: bytes) -> Found:
    """Return the answer to ``/find`` for the user `user`; raises `InvalidAnswer`."""
    answer = _decoded(document, _FOUND)
    return _who(user, answer) if isinstance(answer, KnownUser) else answer


def _decoded(document: bytes, decoder: msgspec.json.Decoder[S]) -> S:
    try:
        return decoder.decode(document)
    except msgspec.ValidationError as error:
        raise InvalidAnswer(f"its answer is not what the protocol says ({error}).") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidAnswer("its answer is no JSON.") from None


def _who(user: str, answer: PasswordAccepted | KnownUser) -> Identity | RespelledUser:
    if answer.user == user:
        # groups that no rule can name (with white space in them, say) are of no use
        return Identity(
            user, frozenset(group for group in answer.groups if is_name(group)), answer.admin
        )
    if _folded(answer.user) == _folded(user):
        return RespelledUser(answer.user)
    raise InvalidAnswer("its answer is about another user than the one that it was asked about.")


def _folded(name: str) -> str:
    return normalize("NFKC", name).casefold()


def is_name(name: str) -> bool:
    """Return whether a user or a group can have this name."""
    return is_account_name(name, LONGEST_NAME)
