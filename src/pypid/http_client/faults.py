"""What can go wrong between this process and another service."""

from __future__ import annotations

from collections.abc import Iterator

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from twisted.internet import error as network
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure


class Fault(Exception):
    """No response, or half of one. `reason` is for display and contains no URL.

    `timed_out`: nothing came in time. `connected`: there was a connection, so the request may have
    been processed. `lasting`: a retry is useless before an administrator changes something.
    """

    def __init__(
        self, reason: str, *, timed_out: bool = False, connected: bool = True, lasting: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.timed_out = timed_out
        self.connected = connected
        self.lasting = lasting


UNVERIFIED = "its certificate has expired, or is of an authority that is not known here."

_CERTAIN: tuple[tuple[type[BaseException], str], ...] = (
    (VerificationError, "its certificate is for another host."),
    (CertificateError, "its certificate names no host that can be checked."),
)
_FAULTS: tuple[tuple[type[BaseException], str], ...] = (
    (SSL.Error, "TLS could not be agreed on."),
    (network.DNSLookupError, "its host has no address (DNS)."),
    (network.ConnectionRefusedError, "it refuses connections."),
    (network.NoRouteError, "no way leads to it."),
    (network.SSLError, "TLS could not be agreed on."),
    (network.ConnectError, "no connection can be made to it."),
)
_CLOSED = (network.ConnectionLost, network.ConnectionDone, network.ConnectionAborted)
_LATE = (network.TimeoutError, network.TCPTimedOutError)


def fault_of(error: Exception) -> Exception:
    """Return what to raise for an error of the network, TLS or HTTP: a `Fault`, or the
    cancellation.
    """
    causes = tuple(_causes(error))
    if any(isinstance(cause, CancelledError) for cause in causes):
        return CancelledError()
    known = next((cause for cause in causes if isinstance(cause, Fault)), None)
    if known is not None:
        return known
    if any(
        isinstance(cause, SSL.Error) and "certificate verify failed" in str(cause)
        for cause in causes
    ):
        return Fault(UNVERIFIED, connected=False, lasting=True)
    for kind, reason in _CERTAIN:
        if any(isinstance(cause, kind) for cause in causes):
            return Fault(reason, connected=False, lasting=True)
    if any(isinstance(cause, _LATE) for cause in causes):
        return Fault("no connection could be made in time.", timed_out=True, connected=False)
    for kind, reason in _FAULTS:
        if any(isinstance(cause, kind) for cause in causes):
            return Fault(reason, connected=False)
    if any(isinstance(cause, _CLOSED) for cause in causes):
        return Fault("it closed the connection instead of answering.")
    return Fault(f"its answer is not HTTP that can be understood ({type(causes[-1]).__name__}).")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception, and all that Twisted has wrapped in it."""
    yield error
    for reason in getattr(error, "reasons", None) or ():
        if isinstance(reason, Failure) and reason.value is not None:
            yield from _causes(reason.value)
