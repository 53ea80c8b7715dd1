"""TLS as in Twisted, without its overhead: bytes are encrypted and sent in the turn in which they
are written, and OpenSSL is called no more often than needed.

Twisted's own layer takes two thirds of a page's time: what is written waits for the next turn of
the reactor, is cut, copied and goes to a transport that registers with epoll; each
request ends in an exception which says that nothing is left to be read; and each call of
pyOpenSSL's is several. Rare cases (a handshake, an error, an end, data that OpenSSL cannot take
now) are left to Twisted. `availability` requires the names that this module needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.internet.interfaces import ITransport
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory

from pypid.web.fastpath.os.socket_write import goes_direct

if TYPE_CHECKING:
    _Layer = Any
else:
    _Layer = BufferingTLSTransport

MODULE_NAMES = ("_ffi", "_lib")
"""The names of the module `OpenSSL.SSL` that this module needs."""
LIBRARY_NAMES = (
    "BIO_get_mem_data",
    "BIO_read",
    "BIO_write",
    "SSL_ERROR_WANT_READ",
    "SSL_get_error",
    "SSL_read",
    "SSL_write",
)
"""The names of `OpenSSL.SSL._lib`."""
CONNECTION_NAMES = ("_from_ssl", "_into_ssl", "_ssl")
"""The names of an `SSL.Connection`."""
LAYER_NAMES = (
    "_aborted",
    "_aggregator",
    "_appSendBuffer",
    "_flushReceiveBIO",
    "_flushSendBIO",
    "_handshakeDone",
    "_lostTLSConnection",
    "_tlsConnection",
    "_write",
)
"""The names of a `BufferingTLSTransport`, some of which only its instances have."""
AGGREGATOR_NAMES = ("_buffer",)
"""The names of its `_aggregator`."""

_RECORD = 1 << 14
"""Maximum bytes of one TLS record."""
_LOT = 1 << 18
"""Bytes that are encrypted before they are sent on."""

_lib: Any = getattr(SSL, "_lib", None)
_ffi: Any = getattr(SSL, "_ffi", None)


def quicken(factory: object) -> None:
    """Have future connections of a TLS factory use `TlsWire`, if its site has a fast path."""
    if (
        isinstance(factory, TLSMemoryBIOFactory)
        and factory.protocol is BufferingTLSTransport
        and getattr(factory.wrappedFactory, "fast_path", None) is not None
    ):
        factory.protocol = TlsWire  # as Twisted documents it; the `ssl` endpoint makes the factory


if _lib is not None and _ffi is not None and all(hasattr(_lib, name) for name in LIBRARY_NAMES):
    _read, _write_tls, _error, _WANT_READ = (
        _lib.SSL_read,
        _lib.SSL_write,
        _lib.SSL_get_error,
        _lib.SSL_ERROR_WANT_READ,
    )
    _feed, _drain, _waiting = _lib.BIO_write, _lib.BIO_read, _lib.BIO_get_mem_data
    _view, _NULL = _ffi.buffer, _ffi.NULL
    _ROOM_FOR = _LOT + 4 * _RECORD
    _room = _ffi.new(
        "char[]", _ROOM_FOR
    )  # one for all connections, which share the reactor's thread
    _plain = _ffi.new("char[]", _RECORD)


class TlsWire(_Layer):  # type: ignore[misc]
    """The server's end of a connection with TLS."""

    _usual = False
    """Whether OpenSSL's connection has all the names that are used here."""
    _direct = False
    """Whether encrypted data may bypass the transport and go straight to the socket."""

    def makeConnection(self, transport: ITransport) -> None:
        self._direct = goes_direct(transport)
        super().makeConnection(transport)
        self._usual = all(
            getattr(self._tlsConnection, name, None) is not None for name in CONNECTION_NAMES
        )

    # --- input ---

    def dataReceived(self, data: bytes) -> None:
        if not self._usual or not self._handshakeDone or self._appSendBuffer:
            super().dataReceived(data)
            return
        connection = self._tlsConnection
        if _feed(connection._into_ssl, data, len(data)) != len(data):
            self.abortConnection()  # out of memory
            return
        self._flushReceiveBIO()

    def _flushReceiveBIO(self) -> None:
        """Deliver what can be read, like Twisted's method, but without the final read that only
        finds nothing left.
        """
        connection = self._tlsConnection
        if not self._usual:
            super()._flushReceiveBIO()
            return
        while not self._lostTLSConnection:
            got = _read(connection._ssl, _plain, _RECORD)
            if got <= 0:
                if _error(connection._ssl, got) != _WANT_READ:
                    super()._flushReceiveBIO()  # which gets the same error again and handles it
                    return
                break
            if not self._aborted:
                self.wrappedProtocol.dataReceived(_view(_plain, got)[:])
            if not _waiting(connection._into_ssl, _NULL):
                break
        self._flushSendBIO()

    # --- output ---

    def send_at_once(self, data: bytes) -> None:
        """Write in this turn of the reactor, unless earlier data wait already."""
        if (
            not self.connected
            or self.disconnecting
            or self._aggregator._buffer
            or self._appSendBuffer
        ):
            self.write(data)
        else:
            self._write(data)

    def send_both(self, head: bytes, body: bytes, most: int) -> int:
        """Send the head, and then `most` bytes of the body at most; return how many."""
        if (
            not self.connected
            or self.disconnecting
            or self._aggregator._buffer
            or self._appSendBuffer
        ):
            self.write(head)
            return 0
        begin = min(most, max(0, _RECORD - len(head)))
        self._write(head + body[:begin])
        if begin < min(most, len(body)):
            self._write(memoryview(body)[begin:most])
        return min(most, len(body))

    def _write(self, data: bytes | memoryview) -> None:
        if self._lostTLSConnection:
            return
        if not self._usual or not self._handshakeDone:
            super()._write(data)
            return
        connection = self._tlsConnection
        ssl, encrypted = connection._ssl, connection._from_ssl
        done, filled, size = 0, 0, len(data)
        start: Any = data if size <= _RECORD and type(data) is bytes else _ffi.from_buffer(data)
        while done < size:
            taken = _write_tls(ssl, start + done if done else start, min(_RECORD, size - done))
            if taken <= 0:
                break
            done += taken
            filled += max(0, _drain(encrypted, _room + filled, _ROOM_FOR - filled))
            if filled >= _LOT:
                self._hand_on(filled)
                filled = 0
        if filled:
            self._hand_on(filled)
        if done < size:
            super()._write(data[done:])  # which gets the same error again and handles it

    def _hand_on(self, size: int) -> None:
        """Send `size` encrypted bytes from the buffer; the transport sends what the socket does not
        take.
        """
        transport = self.transport
        sent = 0
        if (
            self._direct
            and transport.connected
            and not (transport._tempDataBuffer or transport.dataBuffer or self._aborted)
        ):
            try:
                sent = transport.socket.send(_view(_room, size))
            except OSError:  # full; or the connection is lost, which the transport finds out
                sent = 0
        if sent < size:
            transport.write(_view(_room + sent, size - sent)[:])

    def _flushSendBIO(self) -> None:
        if not self._usual or _waiting(self._tlsConnection._from_ssl, _NULL):
            super()._flushSendBIO()
