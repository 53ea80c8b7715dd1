"""TLS by Twisted, and inside a protocol that parses nothing: whatever comes, it gives the same
answer.

``python benchmarks/_nothing.py PORT CERTIFICATE ANSWER``, with the key in the certificate's file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorCore, IReactorSSL
from twisted.internet.protocol import Factory, Protocol, ServerFactory
from twisted.internet.ssl import DefaultOpenSSLContextFactory


class Nothing(Protocol):
    """One connection."""

    answer = b""

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self.answer)  # type: ignore[union-attr]


def main(port: str, certificate: str, answer: str) -> None:
    """Serve until it is stopped."""
    Nothing.answer = Path(answer).read_bytes()
    context = DefaultOpenSSLContextFactory(certificate, certificate)  # type: ignore[no-untyped-call]
    factory = cast(ServerFactory, Factory.forProtocol(Nothing))
    cast(IReactorSSL, reactor).listenSSL(int(port), factory, context, interface="127.0.0.1")
    cast(IReactorCore, reactor).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
