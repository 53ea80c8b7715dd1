"""Translate the old server's endpoint into ``[server]``: ``[server:main]`` of waitress."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from posixpath import join, normpath

from attrs import frozen

from pypid.core.configuration.ini import IniEntry, printable
from pypid.core.configuration.value_kinds import NETWORK
from pypid.core.pypicloud.ledger import Ledger
from pypid.core.pypicloud.paste import Paste

_WAITRESS_PORT = "8080"
_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:\s]*):(?P<port>[0-9]{1,5})\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")
_EVERYWHERE = frozenset({"", "*", "0.0.0.0"})
_LOOPBACK = "127.0.0.0/8 ::1"
_HANDLED = frozenset(
    {
        *("use", "host", "port", "listen", "unix_socket", "unix_socket_perms"),
        *("trusted_proxy", "url_scheme", "url_prefix", "max_request_body_size"),
    }
)
_SAY_IT = "say [server] listen (PYPID_SERVER_LISTEN)"


@frozen
class _Server:
    """The keys of the section, by name, and why some values are not available."""

    name: str
    found: Mapping[str, IniEntry]
    broken: Mapping[str, str]

    def text(self, key: str) -> str:
        return self.found[key].text.strip() if key in self.found and key not in self.broken else ""


def serve(paste: Paste, ledger: Ledger, cwd: str) -> frozenset[str]:
    """Translate where to listen; returns the sections that were read."""
    sections = paste.document.sections
    servers = [
        name
        for name, section in sections.items()
        if name.partition(":")[0] == "server" and not _is_of_gunicorn(section.entries)
    ]
    named = [name for name in servers if name.partition(":")[2].strip() in ("main", "")]
    chosen = next(iter(named or (servers if len(servers) == 1 else [])), None)
    for name in servers:
        if name != chosen:
            where = IniEntry("", ledger.filename, sections[name].line)
            ledger.note(
                "pserve listens where [server:main] says, if it is not told otherwise",
                where,
                f"[{name}]",
            )
    if chosen is not None:
        _server(_Server(chosen, *paste.values(chosen)), ledger, cwd)
    else:
        ledger.note(
            (
                f"the file does not say where to listen, so it is tcp port 6543 of this machine; "
                f"{_SAY_IT} for another"
            ),
            None,
        )
    return frozenset(servers)


def _is_of_gunicorn(entries: Mapping[str, IniEntry]) -> bool:
    """Return whether these keys are of gunicorn, whose defaults are not those of waitress."""
    return "bind" in entries or ("use" in entries and "gunicorn" in entries["use"].text)


def _server(server: _Server, ledger: Ledger, cwd: str) -> None:
    endpoints = [*_listed(server, ledger), *_unix(server, cwd)]
    source = next(
        (key for key in ("listen", "unix_socket", "port", "host") if key in server.found),
        "",
    )
    if not endpoints:
        endpoints = [_tcp(_known_host(server, ledger), _known_port(server, ledger))]
    ledger.put(
        "server",
        "listen",
        " ".join(endpoints),
        server.found.get(source),
        f"[{server.name}] {source}",
    )
    _proxies(server, ledger, local=all(_is_local(text) for text in endpoints))
    if size := server.text("max_request_body_size"):
        entry = server.found["max_request_body_size"]
        ledger.put("server", "max_upload", size, entry, "max_request_body_size")
    tuning = [key for key in server.found if key not in _HANDLED]
    if tuning:
        ledger.note("it is of the old server", server.found[tuning[0]], *tuning)


def _listed(server: _Server, ledger: Ledger) -> list[str]:
    """Parse ``listen``: several, separated by white space or commas."""
    endpoints = []
    if "listen" in server.broken:
        ledger.note(f"{server.broken['listen']}; {_SAY_IT}", server.found["listen"], "listen")
    for text in re.split(r"[\s,]+", server.text("listen")):
        if text.startswith("unix:"):
            endpoints.append(_socket(text.removeprefix("unix:"), "600"))
        elif match := _HOST_AND_PORT.match(text):
            endpoints.append(_tcp(match["host"], match["port"]))
        elif text:
            ledger.refuse(
                f"{printable(text)!r} is no host:port; {_SAY_IT}",
                server.found["listen"],
                "listen",
                server.name,
            )
    return endpoints


def _unix(server: _Server, cwd: str) -> list[str]:
    path = server.text("unix_socket")
    return (
        [_socket(_absolute(path, cwd), server.text("unix_socket_perms") or "600")] if path else []
    )


def _known_host(server: _Server, ledger: Ledger) -> str:
    if "host" in server.broken:
        ledger.note(
            f"{server.broken['host']}; it is 127.0.0.1 until then", server.found["host"], "host"
        )
        return "127.0.0.1"
    return server.text("host")


def _known_port(server: _Server, ledger: Ledger) -> str:
    port = server.text("port")
    if "port" in server.broken:
        reason = (
            f"{server.broken['port']}, or {_SAY_IT}; it is {_WAITRESS_PORT} until then, as with "
            f"waitress"
        )
        ledger.note(reason, server.found["port"], "port")
    elif port and not _PORT.match(port):
        ledger.refuse(
            f"{printable(port)!r} is no port; {_SAY_IT}", server.found["port"], "port", server.name
        )
    return port if _PORT.match(port) else _WAITRESS_PORT


def _proxies(server: _Server, ledger: Ledger, *, local: bool) -> None:
    """Translate which proxies' X-Forwarded-* headers are trusted."""
    trusted = server.text("trusted_proxy")
    if trusted == "*" and local:
        ledger.put(
            "server", "trusted_proxies", _LOOPBACK, server.found["trusted_proxy"], "trusted_proxy"
        )
    elif trusted:
        try:
            ledger.put(
                "server",
                "trusted_proxies",
                str(NETWORK.parse(trusted)),
                server.found["trusted_proxy"],
                "trusted_proxy",
            )
        except ValueError:
            reason = (
                "not everybody who can connect is believed: name your proxies in [server] "
                "trusted_proxies"
            )
            ledger.note(
                f"{reason} (PYPID_SERVER_TRUSTED_PROXIES)",
                server.found["trusted_proxy"],
                "trusted_proxy",
            )
    if server.text("url_scheme") == "https":
        reason = (
            "for URLs with https say [server] public_url (PYPID_SERVER_PUBLIC_URL), or name your "
            "proxies in trusted_proxies"
        )
        ledger.note(reason, server.found["url_scheme"], "url_scheme")
    if server.text("url_prefix").strip("/"):
        reason = (
            "pypid answers at / alone: let the proxy in front of it take this path away, and say "
            "[server] public_url"
        )
        ledger.note(reason, server.found["url_prefix"], "url_prefix")


def _tcp(host: str, port: str) -> str:
    host = host.strip("[]")
    if host in _EVERYWHERE:
        return f"tcp:{port}"
    if ":" in host:
        return f"tcp6:{port}" + ("" if host == "::" else f":interface={_quoted(host)}")
    return f"tcp:{port}:interface={'127.0.0.1' if host == 'localhost' else _quoted(host)}"


def _socket(path: str, mode: str) -> str:
    return f"unix:{_quoted(path)}:mode={mode if mode.isdigit() else '600'}"


def _quoted(text: str) -> str:
    """Return the text escaped for a Twisted endpoint string."""
    return re.sub(r"([\\:=])", r"\\\1", text)


def _is_local(endpoint: str) -> bool:
    if endpoint.startswith("unix:"):
        return True
    host = endpoint.partition("interface=")[2].replace("\\", "")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _absolute(path: str, cwd: str) -> str:
    return normpath(join(cwd, path))
