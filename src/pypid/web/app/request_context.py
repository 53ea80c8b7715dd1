"""The first argument of every route: one request, with the app that answers it and its client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar
from urllib.parse import urljoin

from attrs import define

from pypid.core.errors import PypidError
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import ANONYMOUS, Action, Identity, Visibility, authorize
from pypid.core.simple_api.render import Format
from pypid.core.simple_api.via import read_via
from pypid.index.views import UpstreamPermission
from pypid.web.app.app import App
from pypid.web.http.request import UNIX, Request

T = TypeVar("T")


@define(eq=False)
class RequestContext:
    """A request with the client's identity, as far as the guard has verified it."""

    app: App
    request: Request
    identity: Identity
    spelling: str = ""
    """The project's name as the path spells it; "" if there is none in it. Handlers receive the
    normalized name, and redirect from other spellings.
    """

    def refuse_if_closed(self) -> None:
        """Raise `App.closed`, unless the client is an administrator. A token with a scope is
        refused: its other rights depend on the rules.
        """
        who, closed = self.identity, self.app.closed
        if closed is not None and not (who.admin and who.scope is None):
            raise closed

    def may(self, action: Action, project: ProjectName, index: str | None = None) -> bool:
        """Return whether the client may do this with the project in an index; see `App.may`."""
        return self.app.may(self.identity, action, project, index)

    def may_some(self, action: Action, index: str | None = None) -> bool:
        """Return whether the client may do this with at least one project of the index."""
        return self.app.may(self.identity, action, None, index)

    @property
    def is_admin(self) -> bool:
        """Whether the client may administer the index of the request."""
        return self.may_some(Action.ADMIN)

    def authorize(
        self, action: Action, project: ProjectName | None, index: str | None = None
    ) -> None:
        """Raise `Unauthenticated`, `Forbidden` or `PeopleUnknown` unless the client `may` do this;
        project None: with at least one.
        """
        authorize(self.app.rules_in(index), self.identity, action, project)

    def is_public(self, project: ProjectName, *homes: str) -> bool:
        """Return whether anonymous clients may read the project in the index of the request, and in
        the indexes that have its files.
        """
        return all(self.app.may(ANONYMOUS, Action.READ, project, each) for each in (None, *homes))

    @property
    def base_url(self) -> str | None:
        """The absolute base of generated URLs, without a trailing slash; None if the Host is not
        trusted.
        """
        return self.app.base_url(self.request)

    @property
    def address(self) -> str:
        """The address of the client, for rate limits and password checks."""
        return self.request.client_address() or UNIX

    async def visibility(self) -> Visibility:
        """Return which projects the user sees on a list."""
        return await self.app.visibility(self.identity)

    async def visibility_in_bases(self) -> Visibility:
        """Return which projects the user may read by the rules of this index, and of each of its
        bases (`Visibility.bases`), whichever of them has a project today.
        """
        by = await self.app.visibility_cache.of(self.app.rules, self.identity)
        rules = self.app.rules_in("")
        return await self.app.layer_visibility.in_bases(by, self.identity, rules)

    async def advisory_visibility(self) -> Visibility:
        """Return the projects whose private advisories the user sees. Projects of other indexes are
        excluded, since the rights there may differ.
        """
        by = await self.visibility()
        if self.identity.admin:
            return by
        return await self.app.layer_visibility.without_other_indexes(by)

    async def listed(self, make: Callable[[Visibility], Awaitable[T]]) -> T:
        """Return what `make` lists for the visibility of the user. If the visibility has changed
        meanwhile, list again: the user may not be allowed to read a project that is new in the
        list.
        """
        by = await self.visibility()
        while True:
            found, before = await make(by), by
            if self.app.original is None or (by := await self.visibility()) == before:
                return found

    def provenance_url(self) -> str | None:
        """Return the URL prefix of the provenance objects, as the client reaches them."""
        base = self.base_url
        return None if base is None else f"{base}/integrity/"

    def url_on_page(self, format: Format, relative: str) -> str:
        """Return the URL of `relative` on this page: absolute in JSON for clients that do not
        resolve URLs.

        micropip takes the URLs of a JSON page as they are (PEP 691 lets them be relative). It runs
        in browsers, which name their origin when they request from another one, or is pointed at
        `public_url`. A client that uses another name of this index gets relative URLs, since its
        password is for that name.
        """
        request = self.request
        is_from_a_page = request.requestHeaders.hasHeader(b"origin")
        if format is not Format.JSON or not (is_from_a_page or request.is_for_public_url):
            return relative
        base = self.base_url
        if base is None:
            return relative
        return urljoin(f"{base}{request.path.decode('latin-1')}", relative)

    def upstream_permission(
        self, project: ProjectName | None, *, local: bool = False
    ) -> UpstreamPermission:
        """Return what the request may cause upstream for the project."""
        refusal: PypidError | None = None
        try:
            authorize(self.app.rules, self.identity, Action.FETCH, project)
        except PypidError as error:
            refusal = error
        hops = self.request.requestHeaders.getRawHeaders(b"via")
        via = read_via(value.decode("latin-1") for value in hops) if hops else ()
        return UpstreamPermission(
            via, refusal, local, spend=self._name_budget(), may_read=self._may_read
        )

    def permission_to_read(self, project: ProjectName) -> UpstreamPermission:
        """Return `upstream_permission` for a project that the client may read. Raises `Forbidden`,
        `Unauthenticated`.
        """
        self.authorize(Action.READ, project)
        return self.upstream_permission(project)

    @property
    def stored_permission(self) -> UpstreamPermission:
        """The permission of requests for stored files alone: they cause no upstream request, so
        `[access] cache_update` does not matter.
        """
        return UpstreamPermission(local=True, may_read=self._may_read)

    @property
    def _may_read(self) -> Callable[[str, ProjectName], None]:
        return partial(_authorize_layer, self.app, self.identity)

    def _name_budget(self) -> Callable[[], None] | None:
        """Return the budget for unknown names of a client that has not logged in, else None."""
        identity = self.identity
        if identity.user is not None or identity.publisher or identity.admin:
            return None
        return partial(self.app.unknown_names.spend, self.address)


def _authorize_layer(app: App, who: Identity, index: str, project: ProjectName) -> None:
    # not a method: a cached response keeps the permission, which is not to keep the request
    authorize(app.rules_in(index), who, Action.READ, project)
