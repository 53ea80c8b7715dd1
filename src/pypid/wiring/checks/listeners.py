"""Check what pypid needs to listen: the endpoints of `[server] listen`, and the files of TLS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from errno import EADDRINUSE
from functools import partial
from pathlib import Path
from socket import AF_INET, AF_INET6, SO_REUSEADDR, SOL_SOCKET, getaddrinfo, socket
from typing import Any

from OpenSSL import crypto
from twisted.internet.protocol import Factory

from pypid.core.configuration.endpoints import endpoint_arguments
from pypid.core.configuration.parse import Config
from pypid.daemon.listeners import cannot_listen, public
from pypid.daemon.state import StatePaths
from pypid.daemon.tls import Certificate
from pypid.wiring.checks.file_access import ServiceUser, exists, file_problems, folder_problems
from pypid.wiring.checks.finding import ConfigFinding, refusals

_FROM_SYSTEMD = "LISTEN_FDS"
SOON = timedelta(days=14)
"""A certificate that expires within this time is reported."""
_READABLE_BY_OTHERS = 0o007


def listen_findings(
    config: Config, user: ServiceUser, environ: Mapping[str, str], reactor: Any, *, runs: bool
) -> Iterator[ConfigFinding]:
    """Yield the findings about the endpoints. `runs`: a pypid with this configuration runs, which
    has them open. Blocks briefly.
    """
    for text in config.server.listen:
        kind, arguments = endpoint_arguments(text)
        if kind == "systemd" and _FROM_SYSTEMD not in environ:
            continue
        attempt = partial(public, reactor, text, Factory(), None)
        unusable = tuple(refusals("server", "listen", attempt))
        yield from unusable
        if unusable or runs:
            continue
        if kind == "unix":
            yield from _unix(Path(arguments["address"]).absolute().parent, user)
        elif kind != "systemd":
            yield from _tcp(text, arguments, is_ipv6=kind == "tcp6")


def _unix(folder: Path, user: ServiceUser) -> Iterator[ConfigFinding]:
    """Yield why the socket file cannot be created: nothing creates its folder."""
    if not exists(folder):
        yield ConfigFinding("server", "listen", f"there is no folder {folder}; create it")
    for problem in folder_problems(folder, user):
        yield ConfigFinding("server", "listen", problem)


def _tcp(text: str, arguments: Mapping[str, str], *, is_ipv6: bool) -> Iterator[ConfigFinding]:
    """Yield why the port cannot be opened. A port in use is a warning: the other program may end
    before pypid starts.
    """
    interface = arguments.get("interface", "")
    family = AF_INET6 if is_ipv6 or ":" in interface else AF_INET
    try:
        with closing(socket(family)) as probe:
            probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            host = interface or ("::" if family is AF_INET6 else "0.0.0.0")
            address = getaddrinfo(host, int(arguments["port"]), family)[0][4]
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        is_used = error.errno == EADDRINUSE
        yield ConfigFinding("server", "listen", str(cannot_listen(text, error)), is_warning=is_used)


# --- TLS ---


def tls_findings(
    config: Config, paths: StatePaths, user: ServiceUser, now: datetime
) -> Iterator[ConfigFinding]:
    """Yield the findings about the files of TLS. Blocks."""
    if paths.certificate is None or paths.key is None:
        return
    unusable = [
        ConfigFinding("server", key, problem)
        for key, path in (("tls_certificate", paths.certificate), ("tls_key", paths.key))
        for problem in file_problems(path, user)
    ]
    yield from unusable
    if unusable:
        return
    chain, key, minimum = paths.certificate, paths.key, config.server.tls_minimum.value
    wrong = tuple(refusals("server", "tls_key", lambda: Certificate(chain, key, minimum)))
    yield from wrong
    if not wrong:
        yield from _expiry(chain, now)
        yield from key_mode("server", "tls_key", key)


def key_mode(section: str, key: str, path: Path) -> Iterator[ConfigFinding]:
    """Yield a warning if every user of this machine can read the private key."""
    if path.stat().st_mode & _READABLE_BY_OTHERS:
        message = f"every user of this machine can read {path}; run: chmod o= {path}"
        yield ConfigFinding(section, key, message, is_warning=True)


def _expiry(chain: Path, now: datetime) -> Iterator[ConfigFinding]:
    certificate = crypto.load_certificate(crypto.FILETYPE_PEM, chain.read_bytes())
    begins, ends = _time(certificate.get_notBefore()), _time(certificate.get_notAfter())
    if ends <= now:
        message = f"the certificate expired on {ends:%Y-%m-%d}, and clients refuse it; renew it"
    elif begins > now:
        message = f"the certificate is valid from {begins:%Y-%m-%d}; check the clock, or replace it"
    elif ends - now < SOON:
        days = (ends - now).days
        message = f"the certificate expires on {ends:%Y-%m-%d}, in {days} days; renew it"
    else:
        return
    yield ConfigFinding("server", "tls_certificate", message, is_warning=True)


def _time(text: bytes | None) -> datetime:
    """Return a time of a certificate (ASN.1 GENERALIZEDTIME)."""
    return datetime.strptime((text or b"").decode("ascii"), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
