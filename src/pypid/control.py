"""Talking to a pypid from the command line: to the running one, through the socket in its state folder."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from pathlib import Path
from socket import AF_UNIX, socket
from typing import Any, cast

import msgspec
import treq
from attrs import frozen
from treq.client import HTTPClient
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IReactorUNIX, IStreamClientEndpoint
from twisted.web.client import URI, Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from pypid.core.errors import PypidError, Unauthenticated
from pypid.core.permissions import Credential, Identity
from pypid.ports import Access

ANSWER_WITHIN = 24 * 3600
"""Seconds; a rebuild of a large storage takes long, and the operator can press Ctrl-C."""


@frozen
class Operator:
    """Access for the control socket: whoever can open it (mode 0600, in a folder of mode 0700) is the operator."""

    async def identify(self, credential: Credential) -> Identity:
        """An admin, under the name of the account that runs the command."""
        if not credential.user:
            raise Unauthenticated()
        return Identity(credential.user, admin=True)


_: type[Access] = Operator


class Refused(PypidError):
    """The daemon said no; `message` is its text."""

    def __init__(self, message: str) -> None:
        self.message = message

    def text(self) -> str:
        return self.message


@implementer(IAgentEndpointFactory)
@frozen
class _Socket:
    reactor: IReactorUNIX
    path: Path

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return cast(IStreamClientEndpoint, UNIXClientEndpoint(self.reactor, str(self.path)))  # type: ignore[no-untyped-call]


@frozen
class Control:
    """The JSON API of the daemon that listens on `path`."""

    reactor: Any
    path: Path

    async def call(self, method: str, url: str, document: Mapping[str, Any] | None = None) -> Any:
        """The answer to one request, decoded. Raises `Refused` with the daemon's text."""
        agent = Agent.usingEndpointFactory(self.reactor, _Socket(self.reactor, self.path))  # type: ignore[no-untyped-call]
        client = HTTPClient(agent)
        response = await client.request(
            method,
            f"http://localhost{url}",
            auth=(f"operator/{getpass.getuser()}", "-"),
            data=None if document is None else msgspec.json.encode(document),
            headers=Headers({"Accept": ["application/json"], "Content-Type": ["application/json"]}),
            timeout=ANSWER_WITHIN,
        )
        body = await treq.content(response)
        if response.code >= 400:
            raise Refused(_message(body))
        return msgspec.json.decode(body) if body else None


def listens(path: Path) -> bool:
    """Whether a daemon listens there. Blocks for a moment; for before the reactor runs."""
    with socket(AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _message(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return body.decode(errors="replace").strip()
