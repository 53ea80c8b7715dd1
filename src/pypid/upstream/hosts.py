"""The hosts from which upstream files may come without further conditions (`[upstream]
file_hosts`).
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from attrs import frozen

from pypid.upstream.origin import Base, origin

Address = tuple[str, int]
"""Host (lower case, ASCII) and port."""

_STANDARD_PORTS = (80, 443)


@frozen
class FileHosts:
    """The trusted file hosts. `own` are the hosts and ports of the configured indexes, `listed` the
    entries of ``file_hosts``.

    Of an index's own host its configured port counts, and the standard ports, where ``http``
    redirects to ``https``. Another port of the same host may be another service: it has to be
    listed.
    """

    own: frozenset[Address] = frozenset()
    listed: tuple[str, ...] = ()

    @classmethod
    def of(cls, urls: Iterable[str], listed: Iterable[str] = ()) -> FileHosts:
        """Return the hosts of the configured indexes' URLs, and of the entries: host or glob, with
        or without ``:port``.
        """
        origins = [Base.parse(url).origin for url in urls]
        own = {
            (_ascii(host), each) for _, host, port in origins for each in (port, *_STANDARD_PORTS)
        }
        return cls(frozenset(own), tuple(entry.lower() for entry in listed))

    def holds(self, host: str, port: int) -> bool:
        """Return whether the host is an index's own, or listed."""
        name = _ascii(host.lower().rstrip("."))
        if (name, port) in self.own:
            return True
        bracketed = f"[{name}]" if ":" in name else name
        return any(
            _fits(text, entry)
            for entry in self.listed
            for text in (bracketed, f"{bracketed}:{port}")
        )

    def serves(self, url: str) -> bool:
        """Return whether the URL is at such a host; False if it is not an http or https URL."""
        try:
            _, host, port = origin(url)
        except ValueError:
            return False
        return self.holds(host, port)


def _ascii(host: str) -> str:
    return host if host.isascii() else host.encode("idna").decode("ascii")


def _fits(text: str, entry: str) -> bool:
    return text == entry or ("[" not in entry and fnmatchcase(text, entry))
