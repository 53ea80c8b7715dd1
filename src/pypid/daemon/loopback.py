"""This index for one collection: a listener on 127.0.0.1 with a password of its own, valid for that
time only.

It never sends uv to an upstream URL: uv would request it from this machine, without the checks of
`[upstream] file_hosts`. Requests there have the identity of the user who requested the collection,
and see what that user may see.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hmac import compare_digest
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred

from pypid.core.errors import NotConfigured, Unauthenticated
from pypid.core.packaging.requirements import NO_RESOLVER
from pypid.core.permissions import Credential, Identity
from pypid.flow.derived import Provider
from pypid.flow.spool import COLLECTING
from pypid.ports import Access
from pypid.resolver.uv import IN_ALL, ResolverIndex, Uv, find_uv
from pypid.web.app.app import App
from pypid.web.http.site import Site
from pypid.web.root import resource

USER = "collecting"


@frozen
class OneTime:
    """Access for one collection: a client with the password is that user."""

    password: str = field(repr=False)
    who: Identity

    async def identify(self, credential: Credential) -> Identity:
        """Return the user. Raises `Unauthenticated` for another password."""
        if not compare_digest(credential.password.encode(), self.password.encode()):
            raise Unauthenticated()
        return self.who


@frozen
class _CurrentRules:
    """Access that gives the twin the rules of the original with each request: they may have changed
    since the collection began.
    """

    behind: Access
    original: App = field(repr=False)
    twin: Provider[App] = field(repr=False)

    async def identify(self, credential: Credential) -> Identity:
        """Update the rules of the twin, and return the user."""
        self.twin().follow_rules(self.original)
        return await self.behind.identify(credential)


@frozen
class Loopback:
    """A factory of resolvers. `reactor` is an `IReactorProcess`, `IReactorTCP` and
    `IReactorTime`.
    """

    reactor: Any

    @asynccontextmanager
    async def __call__(self, app: App, who: Identity) -> AsyncIterator[Uv]:
        """Yield a resolver that sees the index of `app` as `who` does. Raises `NotConfigured` where
        uv is not installed.
        """
        program = find_uv()
        if program is None:
            raise NotConfigured(NO_RESOLVER)
        blocking = app.world.blocking
        password = app.world.random(24).hex()
        folder = Path(await blocking(mkdtemp, None, COLLECTING, app.settings.spool))
        try:
            site = Site(resource(seen_by(app, OneTime(password, who))), reactor=self.reactor)
            port = self.reactor.listenTCP(0, site, interface="127.0.0.1")
            try:
                address = f"127.0.0.1:{port.getHost().port}"
                place = ResolverIndex(f"http://{USER}:{password}@{address}/simple/", (password,))
                until = self.reactor.seconds() + IN_ALL
                yield Uv(
                    reactor=self.reactor, program=program, place=place, folder=folder, until=until
                )
            finally:
                site.abort()
                closed = port.stopListening()
                if isinstance(closed, Deferred):
                    await closed
        finally:
            await blocking(rmtree, folder, True)


def seen_by(app: App, access: Access) -> App:
    """Return an app of the same index whose clients are those of `access`."""
    settings = evolve(app.settings, public_url=None, redirects_upstream=False)

    def make() -> App:
        rules = _CurrentRules(access, app, twin)
        return App(
            app.index,
            rules,
            app.rules,
            app.world,
            settings,
            registry=app.registry,
            pages=app.pages,
            routes=app.routes,
            original=app.original,
            index_access=app.index_access,
        )

    twin = Provider(make)
    return twin()
