"""How the bytes of a visible file reach the client. Pure."""

from __future__ import annotations

from typing import assert_never

from attrs import frozen

from pypid.core.configuration.choices import Mode
from pypid.core.model import File, ListedFile, StoredFile
from pypid.core.policy import Policy


@frozen
class Serve:
    """The bytes are served from the storage, under the file's key."""

    file: StoredFile


@frozen
class PassOn:
    """The client is redirected to the upstream index."""

    url: str


@frozen
class Keep:
    """The bytes are fetched, streamed to the client as they arrive, and stored."""

    file: File
    url: str


Delivery = Serve | PassOn | Keep


def delivery(policy: Policy, file: File) -> Delivery:
    """Return how the bytes of a visible file reach the client."""
    if isinstance(file, StoredFile):
        return Serve(file)
    assert isinstance(file, ListedFile)  # others are not visible
    match policy.mode:
        case Mode.REDIRECT:
            return PassOn(file.source)
        case Mode.CACHE | Mode.MIRROR:
            return Keep(file, file.source)
        case Mode.OFFLINE:
            raise AssertionError("offline, a file that is not stored is not visible")
        case _ as never:
            assert_never(never)
