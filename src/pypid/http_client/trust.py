"""Trusted certificates: those of the system's authorities, and those of the configuration."""

# Twisted's web client and TLS are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from attrs import define, field, frozen
from OpenSSL import SSL, crypto
from twisted.internet._sslverify import (
    IOpenSSLTrustRoot,
)  # private, and there is no other way to trust more than the system
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from pypid.core.errors import CannotStart

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def certificates(pem: bytes, setting: str) -> tuple[Certificate, ...]:
    """Return the certificates in a PEM file; raises `CannotStart` if there are none, or one is
    unreadable.

    `setting` is the setting that names the file, for the message.
    """
    try:
        found = tuple(Certificate.loadPEM(block) for block in _PEM.findall(pem))
    except crypto.Error:
        found = ()
    if not found:
        raise CannotStart(
            f"{setting} is no PEM file with certificates. Correct it, or leave it empty."
        )
    return found


@implementer(IOpenSSLTrustRoot)
@frozen(eq=False)
class _Both:
    """The system's authorities and others."""

    others: Any

    def _addCACertsToContext(self, context: SSL.Context) -> None:
        platformTrust()._addCACertsToContext(context)
        self.others._addCACertsToContext(context)


@implementer(IPolicyForHTTPS)
@define(eq=False)
class Trust:
    """The verification of servers. Reading the system's authorities takes some ten milliseconds, so
    the result for a host is cached.

    (Twisted checks the host's name in OpenSSL's callback: setting another one, for better messages,
    would end that.)
    """

    authorities: Sequence[Certificate] = ()
    _made: Any = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._made = lru_cache(maxsize=64)(self._make)

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        made: IOpenSSLClientConnectionCreator = self._made(hostname)
        return made

    def _make(self, hostname: bytes) -> IOpenSSLClientConnectionCreator:
        root = (
            _Both(trustRootFromCertificates(self.authorities))
            if self.authorities
            else platformTrust()
        )
        made: IOpenSSLClientConnectionCreator = optionsForClientTLS(
            hostname.decode("ascii"), trustRoot=root
        )
        return made
