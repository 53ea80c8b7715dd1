"""Listening sockets: endpoint strings, TLS, the protocols on them, and the URLs that people see."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL
from pathlib import Path
from socket import socket
from typing import Any, TypeAlias

from attrs import define, field, frozen
from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from pypid.core.configuration.parse import Config
from pypid.core.errors import CannotStart
from pypid.daemon.state import StateFolder
from pypid.prefork.messages import Adopting, ListeningSocket, endpoint_text, endure
from pypid.prefork.supervisor import Scales, weighed
from pypid.web.fastpath.os.tls_wire import quicken

# TLS for listening sockets, with a certificate that can be changed while connections are open.

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""The cipher suites of TLS 1.2: forward secrecy and authenticated encryption (RFC 9325, 4.2). TLS
1.3 has no others.
"""
_READABLE_BY_OTHERS = 0o007
_MINIMUM = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


def harden(options: Any) -> None:
    """Restrict the options of an `ssl` endpoint, which Twisted makes, to the same cipher suites."""
    if getattr(options, "_cipherString", None) is not None:
        options._cipherString = CIPHERS  # the endpoint's string has no word for it


@implementer(IOpenSSLServerConnectionCreator)
@define(eq=False)
class Certificate:
    """The certificate chain and key in force. Open connections keep the one they began with."""

    chain: Path
    key: Path
    minimum: str = "1.2"
    _context: SSL.Context = field(init=False, repr=False)
    _stamp: tuple[int, ...] = field(init=False, default=(), repr=False)
    _seen: tuple[int, ...] = field(init=False, default=(), repr=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._stamp = self.stamp()
        self._context = self._load()

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        return SSL.Connection(self._context, None)

    def wrap(self, factory: IProtocolFactory) -> TLSMemoryBIOFactory:
        """Return a factory that speaks TLS and, inside, what `factory` speaks."""
        return TLSMemoryBIOFactory(self, False, factory)

    def stamp(self) -> tuple[int, ...]:
        """Return a value that changes whenever one of the files does; empty while one is missing
        (in the middle of a replacement).
        """
        try:
            stats = [path.stat() for path in (self.chain, self.key)]
        except OSError:
            return ()
        return tuple(
            number for stat in stats for number in (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        )

    def reload_if_changed(self) -> None:
        """Read the files again if they changed, and did not change any more since the last check.

        Of a pair, one file is replaced before the other: then this waits for the other.
        """
        stamp = self.stamp()
        if stamp and stamp != self._stamp and stamp == self._seen:
            self.reload()
        self._seen = stamp

    def reload(self) -> str | None:
        """Read the files again, changed or not; unusable ones are logged, and the old certificate
        stays in force. Return the problem, if there was one.
        """
        stamp, problem = self.stamp(), None
        try:
            self._context = self._load()
        except CannotStart as error:
            problem = f"{error} The certificate that was in force stays in force."
            self._log.error("{problem}", problem=problem)
        else:
            self._log.info("the TLS certificate {chain} was read again", chain=str(self.chain))
        self._stamp = stamp
        return problem

    def _load(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(_MINIMUM[self.minimum])
        context.set_cipher_list(CIPHERS.encode("ascii"))
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
        context.set_passwd_cb(lambda *_: b"")  # OpenSSL would ask on the terminal, and wait
        # The key first: OpenSSL's error for a key that does not fit the certificate does not say
        # so.
        self._use(context.use_privatekey_file, self.key, "tls_key")
        self._use(context.use_certificate_chain_file, self.chain, "tls_certificate")
        try:
            context.check_privatekey()
        except SSL.Error:
            raise CannotStart(
                f"[server] tls_key {self.key} is not the key of the certificate {self.chain}."
            ) from None
        self._warn_of_open_key()
        return context

    def _warn_of_open_key(self) -> None:
        """Log a key file that every user of this machine can read."""
        if self.key.stat().st_mode & _READABLE_BY_OTHERS:
            self._log.warn(
                "[server] tls_key can be read by all users of this machine: chmod o= it, and "
                "replace the key if others may have read it, path={path}",
                path=str(self.key),
            )

    @staticmethod
    def _use(load: Callable[[bytes], None], path: Path, name: str) -> None:
        try:
            with path.open("rb"):
                pass
            load(os.fsencode(path))
        except OSError as error:
            raise CannotStart(f"[server] {name} {path} cannot be read: {error.strerror}.") from None
        except SSL.Error:
            raise CannotStart(
                f"[server] {name} {path} is not usable: expected PEM, without a password."
            ) from None


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
