"""Listening sockets: endpoint strings, the protocols on them, and the URLs that people see."""

from __future__ import annotations

import os
import re
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL
from socket import socket
from typing import Any, TypeAlias

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.python.failure import Failure

from pypid.core.configuration.parse import Config
from pypid.core.errors import CannotStart
from pypid.daemon.state import StateFolder
from pypid.daemon.tls import Certificate, harden
from pypid.prefork.connection_balance import Scales, weighed
from pypid.prefork.sockets import Adopting, ListeningSocket, endpoint_text, endure
from pypid.web.fastpath.os.tls_wire import quicken

Factory: TypeAlias = IProtocolFactory

_TLS_KINDS = ("tcp", "tcp6", "systemd")
"""The endpoints that speak TLS when there is a certificate; ``ssl`` brings its own, ``unix`` needs
none.
"""
_EVERYWHERE = ("", "0.0.0.0", "::")
_ADVICE = {
    EADDRINUSE: (
        "Stop what uses that address (another pypid?), or choose another in [server] listen."
    ),
    EACCES: (
        "This user may not use that port, or that folder. Ports below 1024 are root's: choose one "
        "above in [server] listen, or let systemd open it (etc/pypid.socket in the source)."
    ),
    EADDRNOTAVAIL: (
        "This machine does not have that address: correct interface= in [server] listen."
    ),
}


@frozen
class Listener:
    """One endpoint: its text as configured, and the factory for it. `text` is empty for one that is
    not for clients.
    """

    text: str
    endpoint: IStreamServerEndpoint
    factory: Factory
    secure: bool = False
    scales: Scales | None = None
    """Set where other workers listen on the same socket."""
    backlog: int | None = None
    """Connections that may wait to be accepted; None: what the endpoint or systemd says."""

    def listen(self) -> IListeningPort:
        """Begin to listen; at once, as all allowed endpoints do. Raises `CannotStart`."""
        ended: list[Any] = []
        begun: Deferred[IListeningPort] = self.endpoint.listen(self.factory)
        begun.addBoth(ended.append)
        match ended:
            case [Failure(value=BaseException() as error)]:
                raise cannot_listen(self.text or "its control socket", error) from None
            case [port]:
                if self.secure:
                    quicken(getattr(port, "factory", None))
                if (
                    self.backlog is not None
                    and (listener := getattr(port, "socket", None)) is not None
                ):
                    listener.listen(self.backlog)  # changes the backlog of a listening socket
                if self.scales is not None:
                    endure(port)
                    weighed(port, self.scales)
                return port  # type: ignore[no-any-return]
            case _:
                raise CannotStart(f"pypid cannot listen on {self.text}: nothing came of it.")


def public(
    reactor: Any,
    text: str,
    site: Factory,
    certificate: Certificate | None,
    *,
    of: ListeningSocket | None = None,
    scales: Scales | None = None,
    backlog: int | None = None,
) -> Listener:
    """Return an endpoint for clients. With `scales` several workers listen on it; `of` is the
    socket, if another process opened it.

    `backlog` holds unless the endpoint has one of its own, or systemd made the socket. Raises
    `CannotStart` for a text that Twisted does not understand.
    """
    kind = text.partition(":")[0]
    parsed = text
    if of is not None:
        reactor, parsed = Adopting(reactor, of.descriptor, of.family), endpoint_text(text)
    try:
        endpoint = serverFromString(reactor, parsed)  # type: ignore[no-untyped-call]
    except Exception as error:  # ValueError, TypeError, KeyError, IndexError, ImportError
        reason = (
            "systemd passed no such socket; start pypid with its socket unit (etc/pypid.socket)"
            if kind == "systemd"
            else (isinstance(error, OSError) and error.strerror) or str(error)
        )
        raise CannotStart(
            f"[server] listen: {text!r} cannot be opened: {reason}. Correct it; the forms are "
            "those of Twisted's endpoint strings, like tcp:6543:interface=127.0.0.1."
        ) from None
    if kind == "systemd" or ":backlog=" in text:
        backlog = None
    harden(getattr(endpoint, "_sslContextFactory", None))  # of an ``ssl`` endpoint
    if certificate is not None and kind in _TLS_KINDS:
        return Listener(
            text, endpoint, certificate.wrap(site), secure=True, scales=scales, backlog=backlog
        )
    return Listener(text, endpoint, site, secure=kind == "ssl", scales=scales, backlog=backlog)


def control(reactor: Any, state: StateFolder, site: Factory) -> Listener:
    """Return the control socket. The holder of the state's lock may replace it, so it needs no lock
    file of Twisted's.
    """
    path = quoteStringArgument(str(state.control_socket))  # type: ignore[no-untyped-call]
    text = f"unix:{path}:mode=600:lockfile=0"
    return Listener("", serverFromString(reactor, text), site)  # type: ignore[no-untyped-call]


def cannot_listen(what: str, error: BaseException) -> CannotStart:
    """Return the reason why pypid cannot listen there, with advice."""
    cause = error.socketError if isinstance(error, CannotListenError) else error
    reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    number = cause.errno if isinstance(cause, OSError) else None
    advice = _ADVICE.get(number or 0, "Correct [server] listen.")
    return CannotStart(f"pypid cannot listen on {what}: {reason.rstrip('.')}. {advice}")


# --- in URLs --------------------------------------------------------------------------------------


def url_of(port: IListeningPort, *, secure: bool) -> str:
    """Return the URL where clients reach what listens on `port`; a socket in the file system is
    named by its path.
    """
    address = port.getHost()
    if isinstance(address, (IPv4Address, IPv6Address)):
        everywhere = " (on every address)" if address.host in _EVERYWHERE else ""
        return _url(address.host, str(address.port), secure=secure) + everywhere
    name = getattr(address, "name", b"") or b""
    return "unix:" + (
        name.decode(errors="backslashreplace") if isinstance(name, bytes) else str(name)
    )


def base_url(config: Config) -> str:
    """Return the URL to print at a first run: the configured one, or the first address that pypid
    listens on.
    """
    if config.server.public_url is not None:
        return config.server.public_url
    with_certificate = config.server.tls_certificate is not None
    for text in config.server.listen:
        kind, *arguments = (re.sub(r"\\(.)", r"\1", part) for part in re.split(r"(?<!\\):", text))
        named = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
        if kind in ("tcp", "tcp6", "ssl"):
            port = named.get("port") or next(
                (argument for argument in arguments if "=" not in argument), ""
            )
            return _url(named.get("interface", ""), port, secure=with_certificate or kind == "ssl")
        if kind == "systemd" and (inherited := _inherited(text)) is not None:
            return _url(*inherited, secure=with_certificate)
    return _url("", "", secure=with_certificate)


def _inherited(text: str) -> tuple[str, str] | None:
    """Return the host and the port of a socket that systemd has passed; None if there is none, or
    it has no port.
    """
    try:
        endpoint: Any = serverFromString(None, text)  # type: ignore[no-untyped-call]
        with socket(fileno=os.dup(endpoint.fileno)) as found:
            address = found.getsockname()
    except Exception:  # as in `public`, which reports what is wrong
        return None
    return (address[0], str(address[1])) if isinstance(address, tuple) else None


def _url(host: str, port: str, *, secure: bool) -> str:
    shown = "localhost" if host in _EVERYWHERE else f"[{host}]" if ":" in host else host
    return f"{'https' if secure else 'http'}://{shown}" + (f":{port}" if port else "")
