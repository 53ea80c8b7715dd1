"""Trusted publishing: issuers of identity tokens (OIDC), their keys, and the pypid tokens that they
are exchanged for.

Rationale: docs/project/decisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from math import inf
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.logger import Logger
from twisted.web.iweb import IResponse

from pypid.access.accounts import SqlAccounts
from pypid.access.tokens import new_token
from pypid.core.accounts.identity_tokens import (
    ALGORITHMS,
    LEEWAY,
    UnverifiedToken,
    VerifiedToken,
    parse_token,
    read_object,
    refused,
    validate_claims,
)
from pypid.core.accounts.rights import AuditEntry, Minted, Token
from pypid.core.accounts.trusted_publishers import (
    Allowance,
    allowed_projects,
    forge_of,
    is_safe,
    parse_allowance,
    publisher_of,
    reported_claims,
    user_of,
)
from pypid.core.configuration.ini import printable
from pypid.core.configuration.keys import IssuerSettings
from pypid.core.errors import Busy, MintRefused, PeopleUnknown, shortened
from pypid.core.permissions import Action, Scope
from pypid.database.logs import SqlJournal
from pypid.flow import World, shielded
from pypid.flow.derived import Flights
from pypid.http_client.connections import Fault, HttpConnections
from pypid.http_client.services import ServiceClient, ServiceRequest, UnusableResponse

# The keys of an issuer (JWKS, RFC 7517), and the check of a signature with them. Blocks: not for
# the reactor thread.

MOST = 100
"""Keys of one issuer that are looked at; issuers have two to five."""
SHORTEST_RSA = 2048
"""Bits."""

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}


@frozen
class IssuerKey:
    """One public key: its id, and the algorithms that it is for."""

    id: str | None
    algorithms: frozenset[str]
    public: Any = field(repr=False)


def read_keys(data: bytes) -> tuple[IssuerKey, ...]:
    """Return the keys of a JWKS that can verify signatures; all others are ignored. Raises
    `ValueError` if it is not a JWKS.
    """
    listed = read_object(data).get("keys")
    if not isinstance(listed, list):
        raise ValueError("there is no list of keys in it")
    return tuple(_keys(listed[:MOST]))


def _keys(listed: Sequence[object]) -> Iterator[IssuerKey]:
    for described in listed:
        if isinstance(described, dict):
            algorithms = _algorithms(described)
            public = _public(described, min(algorithms)) if algorithms else None
            if public is not None:
                name = described.get("kid")
                yield IssuerKey(name if isinstance(name, str) else None, algorithms, public)


def _algorithms(described: Mapping[str, Any]) -> frozenset[str]:
    """Return the algorithms of the key: by its kind, never by what a token says (RFC 8725, 3.1)."""
    if described.get("use", "sig") != "sig" or "d" in described:
        return frozenset()
    match described:
        case {"kty": "RSA"}:
            fit = _RSA
        case {"kty": "EC", "crv": str() as curve} if curve in _CURVES:
            fit = frozenset({_CURVES[curve]})
        case {"kty": "OKP", "crv": "Ed25519"}:
            fit = frozenset({"EdDSA"})
        case _:  # a symmetric key ("oct") is a secret, and no issuer's that publishes it
            fit = frozenset()
    declared = described.get("alg")
    return fit if declared is None else frozenset(name for name in fit if name == declared)


def _public(described: Mapping[str, Any], algorithm: str) -> Any:
    import jwt  # here, since most indexes have no issuer
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    try:
        public = jwt.PyJWK(dict(described), algorithm).key
    except (
        jwt.PyJWTError,
        ValueError,
        TypeError,
        AttributeError,
    ):  # what a damaged key raises depends on where it is damaged
        return None
    if isinstance(public, RSAPublicKey) and public.key_size < SHORTEST_RSA:
        return None
    if isinstance(public, EllipticCurvePublicKey) and _CURVES.get(described["crv"]) != algorithm:
        return None
    return public


def matching_keys(keys: Sequence[IssuerKey], token: UnverifiedToken) -> tuple[IssuerKey, ...]:
    """Return the keys that may have signed the token; if it names none, the only candidate there is
    (OIDC Core, 10.1).
    """
    suited = tuple(key for key in keys if token.algorithm in key.algorithms)
    if token.key_id is None:
        return suited if len(suited) == 1 else ()
    return tuple(key for key in suited if key.id == token.key_id)


def verified_claims(token: UnverifiedToken, keys: Sequence[IssuerKey]) -> dict[str, Any]:
    """Return the claims, if one of the keys has signed them. Raises `MintRefused`."""
    import jwt

    assert token.algorithm in ALGORITHMS
    checker = jwt.PyJWS(algorithms=[token.algorithm])
    for key in keys:
        try:
            payload = checker.decode_complete(
                token.token, key.public, algorithms=[token.algorithm]
            )["payload"]
            return read_object(payload)
        except (jwt.PyJWTError, ValueError):
            continue
    raise refused(
        f"The token's signature is not good: it was not made with the key "
        f"{shortened(str(token.key_id))!r} of the issuer."
    )


# Exchange of identity tokens for pypid tokens: a workflow shows an identity token once, and
# publishes with the pypid token for a quarter of an hour.
#
# The keys of an issuer are found by OpenID Connect Discovery 1.0, and cached for a while.

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
            _log.warn(
                "cannot fetch the keys of {issuer}, so trusted publishing with its tokens fails: "
                "{reason}",
                issuer=self.url,
                reason=fault.reason,
            )
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


LIFETIME = timedelta(minutes=15)
"""Lifetime of a token: the shortest that PEP 807 allows (900 to 21,600 seconds)."""
AT_ONCE = 4
"""Identity tokens that are checked at once."""
WAITING = 64
"""Further requests that may wait for their turn."""
USED = "jti"
"""The kind of value for `SqlAccounts.once`."""

_SCOPE = frozenset({Action.READ, Action.WRITE})


@define(eq=False)
class TrustedPublishing:
    """Trusted publishing: workflows of a forge get short-lived tokens in exchange for identity
    tokens, which the issuers sign that the configuration trusts.
    """

    accounts: SqlAccounts
    journal: SqlJournal
    world: World
    client: ServiceClient = field(repr=False)
    _trusted: tuple[Trusted, ...] = field(default=(), init=False)
    _keyrings: Mapping[str, Keyring] = field(factory=dict, init=False, repr=False)
    _turns: DeferredSemaphore = field(
        factory=lambda: DeferredSemaphore(AT_ONCE), init=False, repr=False
    )

    def trust(self, issuers: Mapping[str, IssuerSettings]) -> None:
        """Trust these issuers of a checked configuration from now on; those without a url are left
        out. The cached keys of those that stay remain valid.
        """
        self._trusted = tuple(
            Trusted(
                name=name,
                url=settings.url,
                audience=settings.audience,
                allowances=tuple(
                    parse_allowance(line, forge_of(name, settings.url)) for line in settings.allow
                ),
            )
            for name, settings in issuers.items()
            if settings.url is not None
        )
        new = ((each.url, Keyring(each.url, self.world, self.client)) for each in self._trusted)
        self._keyrings = {url: self._keyrings.get(url, keyring) for url, keyring in new}

    @property
    def audience(self) -> str | None:
        """The audience that clients put into identity tokens: that of the first issuer, since
        clients do not say which issuer they are going to use.
        """
        return self._trusted[0].audience if self._trusted else None

    async def mint(self, jwt: str, address: str) -> Minted:
        """Return a pypid token for the identity token. Raises `MintRefused`, `PeopleUnknown` if
        the issuer is unavailable, and `Busy` if too many requests wait.
        """
        if not self._trusted:
            raise refused(
                "No issuer is trusted here: an administrator can name one ([issuer:github]).",
                "not-enabled",
            )
        if len(self._turns.waiting) >= WAITING:
            raise Busy("Too many tokens are requested at once.")
        minted: Minted = await self._turns.run(
            lambda: Deferred.fromCoroutine(self._mint(jwt, address))
        )
        return minted

    async def _mint(self, jwt: str, address: str) -> Minted:
        trusted, verified = await self._verify(jwt)
        projects = allowed_projects(trusted.allowances, verified.claims)
        if not projects:
            raise _no_rule(trusted, verified)
        return await shielded(self._issue(trusted, verified, projects, address))

    async def _issue(
        self, trusted: Trusted, verified: VerifiedToken, projects: tuple[str, ...], address: str
    ) -> Minted:
        """Issue the token, also if the client has disconnected: every token is in the audit log."""
        await self._mark_used(trusted, verified)
        now = self.world.now()
        user = publisher_of(trusted.name, verified.subject)
        secret, token = new_token(
            self.world.random,
            name="trusted publishing",
            user=user,
            scope=Scope(_SCOPE, projects),
            now=now,
            expires=now + LIFETIME,
            publisher=True,
            as_user=user_of(trusted.allowances, verified.claims),
        )
        await self.accounts.add_token(token)
        await self.journal.note(_audit_entry(trusted, verified, token, address))
        return Minted(secret, now + LIFETIME)

    async def _verify(self, jwt: str) -> tuple[Trusted, VerifiedToken]:
        token = parse_token(jwt)
        trusted = next(
            (each for each in self._trusted if each.url == token.issuer.removesuffix("/")), None
        )
        if trusted is None:
            raise refused(
                "The token's issuer is not trusted here (iss): an administrator can name it "
                "([issuer:...] url)."
            )
        issuer, keys = await self._keyrings[trusted.url].keys_for(token)
        claims = await self.world.blocking(verified_claims, token, keys)
        return trusted, validate_claims(
            claims, issuer=issuer, audience=trusted.audience, now=self.world.now()
        )

    async def _mark_used(self, trusted: Trusted, verified: VerifiedToken) -> None:
        """Mark the identity token as used; last of all, so that a token that was refused for a
        mistake in the configuration can be shown again.
        """
        value = sha256(f"{trusted.url}\n{verified.id}".encode()).hexdigest()
        if not await self.accounts.once(USED, value, verified.expires + LEEWAY):
            raise refused("The token was used before: ask for a new one.", "invalid-reuse-token")


def _no_rule(trusted: Trusted, verified: VerifiedToken) -> MintRefused:
    claims = ", ".join(
        f"{name}={value}"
        for name, value in [("sub", verified.subject), *reported_claims(verified.claims).items()]
    )
    return refused(
        (
            f"No rule of [issuer:{trusted.name}] allow fits this token. It says: "
            f"{printable(claims, 1000)}."
        ),
        "invalid-publisher",
    )


def _audit_entry(
    trusted: Trusted, verified: VerifiedToken, token: Token, address: str
) -> AuditEntry:
    details = {
        "issuer": trusted.url,
        "projects": " ".join(token.scope.projects),
        **({} if token.as_user is None else {"as-user": token.as_user}),
        **reported_claims(verified.claims),
    }
    return AuditEntry(
        when=token.created,
        who=token.user,
        what="token mint",
        subject=token.id,
        where=address,
        token=token.id,
        details=MappingProxyType(details),
    )


# --- the way in -----------------------------------------------------------------------------------


def open(
    issuers: Mapping[str, IssuerSettings],
    accounts: SqlAccounts,
    journal: SqlJournal,
    world: World,
    reached: HttpConnections,
) -> TrustedPublishing:
    """Return the app's `publishers`; `reached` verifies issuers by the system's authorities, and
    the caller closes it at the end.

    On a reload call ``publishers.trust(config.issuers)``. Without any issuer it answers
    ``not-enabled``, so that it can always be in place.
    """
    publishing = TrustedPublishing(accounts, journal, world, ServiceClient(reached, world.clock))
    publishing.trust(issuers)
    return publishing
