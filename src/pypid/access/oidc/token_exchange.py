"""Exchange of identity tokens for pypid tokens: a workflow shows an identity token once, and
publishes with the pypid token for a quarter of an hour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredSemaphore

from pypid.access.oidc.issuer import Keyring, Trusted
from pypid.access.oidc.keys import verified_claims
from pypid.access.tokens import new_token
from pypid.core.accounts.entries import AuditEntry, Minted, Token
from pypid.core.accounts.identity_tokens import (
    LEEWAY,
    VerifiedToken,
    parse_token,
    refused,
    validate_claims,
)
from pypid.core.accounts.trusted_publishers import (
    allowed_projects,
    forge_of,
    parse_allowance,
    publisher_of,
    reported_claims,
)
from pypid.core.configuration.ini import printable
from pypid.core.configuration.keys import IssuerSettings
from pypid.core.errors import Busy, MintRefused
from pypid.core.permissions import Action, Scope
from pypid.flow import World, shielded
from pypid.http_client.connections import HttpConnections, connections
from pypid.http_client.services import ServiceClient
from pypid.http_client.trust import Trust
from pypid.ports import Accounts, Journal, Publishers

LIFETIME = timedelta(minutes=15)
"""Lifetime of a token: the shortest that PEP 807 allows (900 to 21,600 seconds)."""
AT_ONCE = 4
"""Identity tokens that are checked at once."""
WAITING = 64
"""Further requests that may wait for their turn."""
USED = "jti"
"""The kind of value for `Accounts.once`."""

_SCOPE = frozenset({Action.READ, Action.WRITE})


@define(eq=False)
class TrustedPublishing:
    """`Publishers` for the issuers that the configuration trusts."""

    accounts: Accounts
    journal: Journal
    world: World
    client: ServiceClient = field(repr=False)
    _trusted: tuple[Trusted, ...] = field(default=(), init=False)
    _keyrings: Mapping[str, Keyring] = field(factory=dict, init=False, repr=False)
    _turns: DeferredSemaphore = field(
        factory=lambda: DeferredSemaphore(AT_ONCE), init=False, repr=False
    )

    def trust(self, trusted: Sequence[Trusted]) -> None:
        """Trust these issuers from now on; the cached keys of those that stay remain valid."""
        self._trusted = tuple(trusted)
        new = ((each.url, Keyring(each.url, self.world, self.client)) for each in trusted)
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
            raise Busy("Too many tokens are asked for at once.")
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
        **reported_claims(verified.claims),
    }
    return AuditEntry(
        when=token.created,
        who=token.user,
        what="mint-token",
        subject=token.id,
        where=address,
        token=token.id,
        details=MappingProxyType(details),
    )


# --- the way in -----------------------------------------------------------------------------------


def connected(reactor: Any) -> HttpConnections:
    """Return the HTTP connections to issuers: verified by the system's authorities (OpenSSL's
    SSL_CERT_FILE names others).
    """
    return connections(reactor, Trust(), 10.0, idle=2, idle_time=30)


def trusted_by(issuers: Mapping[str, IssuerSettings]) -> tuple[Trusted, ...]:
    """Return the issuers of a checked configuration (`Config.issuers`); those without a url are
    left out.
    """
    return tuple(
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


def open(
    issuers: Mapping[str, IssuerSettings],
    accounts: Accounts,
    journal: Journal,
    world: World,
    reached: HttpConnections,
) -> TrustedPublishing:
    """Return the app's `publishers`; `reached` is `connected(reactor)`, and the caller closes it at
    the end.

    On a reload call ``publishers.trust(trusted_by(config.issuers))``. Without any issuer it answers
    ``not-enabled``, so that it can always be in place.
    """
    publishing = TrustedPublishing(
        accounts, journal, world, ServiceClient(reached.agent, world.clock)
    )
    publishing.trust(trusted_by(issuers))
    return publishing


_: type[Publishers] = TrustedPublishing
