"""TLS for listening sockets, with a certificate that can be changed while connections are open."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolFactory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from pypid.core.errors import CannotStart

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
