"""URLs of upstream indexes: what can be requested, and which origins may receive the configured
user and password.
"""

from __future__ import annotations

import re
from base64 import b64encode
from urllib.parse import quote, unquote, urljoin, urlsplit

from attrs import field, frozen

from pypid.core.errors import UpstreamDown

Origin = tuple[str, str, int]
"""Scheme, host, port: lower case, with the scheme's default port if the URL has none."""

LONGEST_URL = 8192
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[^\s/?#@\\%\"'<>]+\Z").match
_KEPT = "/%:@!$&'()*+,;=~-._"


def origin(url: str) -> Origin:
    """Return the origin of an http or https URL. Raises `ValueError` for any other."""
    split = urlsplit(url)
    if (
        split.scheme not in _PORTS
        or not split.hostname
        or split.port == 0
        or not _HOST(split.hostname)
    ):
        raise ValueError("not an http or https URL")
    return split.scheme, split.hostname.rstrip("."), split.port or _PORTS[split.scheme]


def askable(url: str) -> bytes:
    """Return the URL as a request can carry it: without user and fragment, in ASCII. Raises
    `ValueError`.
    """
    _, host, _ = origin(url)
    split = urlsplit(url)
    if not host.isascii():
        host = host.encode("idna").decode("ascii")  # UnicodeError is a ValueError
    netloc = f"[{host}]" if ":" in host else host
    if split.port is not None:
        netloc = f"{netloc}:{split.port}"
    path, query = quote(split.path or "/", safe=_KEPT), quote(split.query, safe=_KEPT + "?")
    made = f"{split.scheme}://{netloc}{path}" + (f"?{query}" if query else "")
    if len(made) > LONGEST_URL:
        raise ValueError("too long")
    return made.encode("ascii")


@frozen
class Base:
    """The base URL of a Simple API, ending in ``/``, with the credentials for it."""

    url: str
    """Without user and password."""
    origin: Origin
    _authorization: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Base:
        """Return the base for a configured URL; ``user:password@`` may precede the host."""
        split = urlsplit(text)
        userinfo, at, netloc = split.netloc.rpartition("@")
        authorization = None
        if at:
            user, _, password = userinfo.partition(":")
            pair = f"{unquote(user)}:{unquote(password)}".encode()
            authorization = "Basic " + b64encode(pair).decode("ascii")
        url = split._replace(
            netloc=netloc, path=split.path.rstrip("/") + "/", query="", fragment=""
        ).geturl()
        return cls(url, origin(url), authorization)

    def page(self, name: str) -> str:
        """Return the URL of the project's page; for "" that of the list of projects."""
        return f"{self.url}{name}/" if name else self.url

    def authorization(self, url: str) -> str | None:
        """Return the ``Authorization`` for this URL: None unless it is at the very origin that the
        password is for.
        """
        return self._authorization if self.holds(url) else None

    def holds(self, url: str) -> bool:
        """Return whether the URL is at this very origin."""
        try:
            return origin(url) == self.origin
        except ValueError:
            return False


def redirected(url: str, location: str) -> str:
    """Return the target of a redirect. Raises `UpstreamDown` for one that must not be followed."""
    try:
        there = urljoin(url, location[:LONGEST_URL])
        askable(there)
        scheme = origin(there)[0]
    except ValueError:
        raise UpstreamDown("it redirects to something that is no http or https URL.") from None
    if origin(url)[0] == "https" and scheme != "https":
        raise UpstreamDown(
            "it redirects from https to http, where any machine in between could answer."
        )
    return there
