"""An issuer of identity tokens: its keys, found by OpenID Connect Discovery 1.0, and cached for a
while.
"""

from __future__ import annotations

from math import inf
from urllib.parse import urlsplit

from attrs import define, field, frozen
from twisted.logger import Logger
from twisted.web.iweb import IResponse

from pypid.access.oidc.keys import IssuerKey, matching_keys, read_keys
from pypid.core.accounts.identity_tokens import UnverifiedToken, read_object, refused
from pypid.core.accounts.trusted_publishers import Allowance, is_safe
from pypid.core.errors import PeopleUnknown
from pypid.flow import World
from pypid.flow.single_flight import Flights
from pypid.http_client.faults import Fault
from pypid.http_client.services import ServiceClient, ServiceRequest, UnusableResponse

_log = Logger()

DISCOVERY = "/.well-known/openid-configuration"
LARGEST = 1 << 18
"""Bytes of a document; GitHub's have 3,000."""
PATIENCE = 10.0
"""Seconds that one document may take, from the question to the last byte."""
FRESH = 3600.0
"""Seconds for which keys are valid: after that a key that the issuer has withdrawn is unknown."""
AGAIN = 60.0
"""Seconds between two requests for unknown keys. A client that invents names of keys causes no more
requests than that.
"""
AFTER_FAILURE = 10.0
"""Seconds until an unavailable issuer is contacted again."""


@frozen(kw_only=True)
class Trusted:
    """The configuration of an issuer. `name` follows ``issuer:`` in the section's name; `url` is
    without its last slash.
    """

    name: str
    url: str
    audience: str
    allowances: tuple[Allowance, ...]


@frozen
class _Known:
    """What an issuer published: its own spelling of its URL, its keys, and when they were
    fetched (by the reactor's clock).
    """

    issuer: str
    keys: tuple[IssuerKey, ...] = field(repr=False)
    fetched_at: float


@define(eq=False)
class Keyring:
    """The keys of the issuer at `url`, fetched when they are needed, by one request at a time."""

    url: str
    world: World
    client: ServiceClient = field(repr=False)
    _known: _Known | None = field(default=None, init=False)
    _last_attempt: float = field(default=-inf, init=False)
    """When the last request was sent, whether it was answered or not."""
    _flights: Flights[str, _Known] = field(factory=Flights, init=False, repr=False)

    async def keys_for(self, token: UnverifiedToken) -> tuple[str, tuple[IssuerKey, ...]]:
        """Return the issuer's own spelling of its URL, and the keys that may have signed the token,
        at least one.

        Raises `MintRefused` if it has no such key, `PeopleUnknown` if the issuer is unavailable.
        """
        known = self._known
        is_new = (
            known is not None
            and not matching_keys(known.keys, token)
            and self._since(self._last_attempt) >= AGAIN
        )
        if known is None or is_new or self._since(known.fetched_at) >= FRESH:
            known = await self._flights.single(self.url, self._fetch)
        keys = matching_keys(known.keys, token)
        if not keys:
            raise refused(
                "The token was signed with a key that its issuer does not have (kid), or did not "
                "have a minute ago."
            )
        return known.issuer, keys

    def _since(self, moment: float) -> float:
        return self.world.clock.seconds() - moment

    async def _fetch(self) -> _Known:
        if self._since(self._last_attempt) < AFTER_FAILURE:
            raise self._away()
        self._last_attempt = self.world.clock.seconds()
        try:
            self._known = await self._download(self._last_attempt)
        except Fault as fault:
            problem = (
                "cannot fetch the keys of {issuer}, so trusted publishing with its tokens fails: "
                "{reason}"
            )
            _log.warn(problem, issuer=self.url, reason=fault.reason)
            raise self._away() from None
        return self._known

    def _away(self) -> PeopleUnknown:
        return PeopleUnknown(f"the issuer {self.url}", retry_after=int(AFTER_FAILURE))

    async def _download(self, now: float) -> _Known:
        try:
            document = read_object(await self._get(self.url + DISCOVERY))
            issuer, keys_url = document.get("issuer"), document.get("jwks_uri")
            if not isinstance(issuer, str) or issuer.removesuffix("/") != self.url:
                raise Fault(
                    "its discovery document is about another issuer. Correct the url in the "
                    "configuration."
                )
            if not isinstance(keys_url, str) or not _is_usable(keys_url, self.url):
                raise Fault(
                    "its discovery document does not say where its keys are (jwks_uri), by https."
                )
            keys = await self.world.blocking(read_keys, await self._get(keys_url))
        except ValueError as error:
            raise Fault(f"what it answers cannot be read: {error}.") from None
        return _Known(issuer, keys, now)

    async def _get(self, url: str) -> bytes:
        """Return the document at the URL; redirects are not followed. Raises `Fault`."""
        return await self.client.fetch(
            ServiceRequest(
                method="GET",
                url=url,
                headers={"Accept": "application/json"},
                check=_check,
                limit=LARGEST,
                timeout=PATIENCE,
            )
        )


def _is_usable(url: str, issuer: str) -> bool:
    """Return whether it is a URL, and as safe as the issuer's. Raises `ValueError` for a malformed
    URL.
    """
    address = urlsplit(url)
    if (
        not (url.isascii() and url.isprintable())
        or " " in url
        or "@" in address.netloc
        or address.port == 0
    ):
        return False
    return (
        is_safe(url)
        and bool(address.hostname)
        and (address.scheme == "https" or issuer.startswith("http:"))
    )


def _check(response: IResponse) -> None:
    if response.code != 200:
        raise UnusableResponse(f"it answered with the status {response.code}.")
