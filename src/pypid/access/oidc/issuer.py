"""An issuer of identity tokens: its keys, found by OpenID Connect Discovery 1.0, and cached for a
while.
"""

from __future__ import annotations

from math import inf
from urllib.parse import urlsplit

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.iweb import IAgent

from pypid import __version__
from pypid.access.oidc.keys import IssuerKey, fitting, read_keys
from pypid.core.accounts.identity_tokens import Unproven, read_object, refused
from pypid.core.accounts.trusted_publishers import Allowance, is_safe
from pypid.core.errors import PeopleUnknown
from pypid.flow import Flights, World, whole
from pypid.http_client.exchange import exchange
from pypid.http_client.faults import Fault
from pypid.http_client.response_body import IncomingBody

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
"""Seconds until an unavailable issuer is asked again."""


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
    """What an issuer published: its own spelling of its URL, its keys, and when it was asked (by
    the reactor's clock).
    """

    issuer: str
    keys: tuple[IssuerKey, ...] = field(repr=False)
    asked: float


@define(eq=False)
class Keyring:
    """The keys of the issuer at `url`, fetched when they are needed, by one request at a time."""

    url: str
    world: World
    agent: IAgent = field(repr=False)
    _known: _Known | None = field(default=None, init=False)
    _asked: float = field(default=-inf, init=False)
    """When it was asked last, whether it answered or not."""
    _flights: Flights[str, _Known] = field(factory=Flights, init=False, repr=False)

    async def keys_for(self, token: Unproven) -> tuple[str, tuple[IssuerKey, ...]]:
        """Return the issuer's own spelling of its URL, and the keys that may have signed the token,
        at least one.

        Raises `MintRefused` if it has no such key, `PeopleUnknown` if the issuer is unavailable.
        """
        known = self._known
        is_new = (
            known is not None
            and not fitting(known.keys, token)
            and self._since(self._asked) >= AGAIN
        )
        if known is None or is_new or self._since(known.asked) >= FRESH:
            known = await self._flights.single(self.url, self._fetch)
        keys = fitting(known.keys, token)
        if not keys:
            raise refused(
                "The token was signed with a key that its issuer does not have (kid), or did not "
                "have a minute ago."
            )
        return known.issuer, keys

    def _since(self, moment: float) -> float:
        return self.world.clock.seconds() - moment

    async def _fetch(self) -> _Known:
        if self._since(self._asked) < AFTER_FAILURE:
            raise self._away()
        self._asked = self.world.clock.seconds()
        try:
            self._known = await self._ask(self._asked)
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

    async def _ask(self, now: float) -> _Known:
        try:
            said = read_object(await fetch(self.agent, self.world.clock, self.url + DISCOVERY))
            issuer, where = said.get("issuer"), said.get("jwks_uri")
            if not isinstance(issuer, str) or issuer.removesuffix("/") != self.url:
                raise Fault(
                    "its discovery document is about another issuer. Correct the url in the "
                    "configuration."
                )
            if not isinstance(where, str) or not _can_be_asked(where, self.url):
                raise Fault(
                    "its discovery document does not say where its keys are (jwks_uri), by https."
                )
            keys = await self.world.blocking(
                read_keys, await fetch(self.agent, self.world.clock, where)
            )
        except ValueError as error:
            raise Fault(f"what it answers cannot be read: {error}.") from None
        return _Known(issuer, keys, now)


def _can_be_asked(url: str, issuer: str) -> bool:
    """Return whether it is a URL, and as safe as the issuer's. Raises `ValueError` for a malformed
    URL.
    """
    parts = urlsplit(url)
    if (
        not (url.isascii() and url.isprintable())
        or " " in url
        or "@" in parts.netloc
        or parts.port == 0
    ):
        return False
    return (
        is_safe(url)
        and bool(parts.hostname)
        and (parts.scheme == "https" or issuer.startswith("http:"))
    )


async def fetch(agent: IAgent, clock: IReactorTime, url: str) -> bytes:
    """Return the body at the URL; redirects are not followed. Raises `Fault`, also if it is too
    long or takes too long.
    """
    late: list[bool] = []
    asked = Deferred.fromCoroutine(_get(agent, clock, url))

    def give_up() -> None:
        late.append(True)
        asked.cancel()

    alarm = clock.callLater(PATIENCE, give_up)
    try:
        return await asked
    except Exception:
        if late:
            raise Fault(f"it did not answer within {PATIENCE:g} seconds.", timed_out=True) from None
        raise
    finally:
        if alarm.active():
            alarm.cancel()


async def _get(agent: IAgent, clock: IReactorTime, url: str) -> bytes:
    headers = {"User-Agent": f"pypid/{__version__}", "Accept": "application/json"}
    response = await exchange(agent, clock, "GET", url, headers, None, PATIENCE)
    body = IncomingBody(response, clock, PATIENCE)
    if response.code != 200:
        await body.aclose()
        raise Fault(f"it answered with the status {response.code}.")
    try:
        return await whole(body, LARGEST)
    except ValueError:
        raise Fault(f"its answer is longer than {LARGEST} bytes.") from None
