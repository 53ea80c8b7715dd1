"""A request whose handler runs when the headers are in, and whose body is a stream.

`Request.body` is a `pypid.ports.Body`: take it at any pace, or answer without it (401, 403, 413).
Requests without a body are exactly those of twisted.web.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from twisted.web import http, server

from pypid.core.permissions import ANONYMOUS, Identity
from pypid.flow import BytesBody
from pypid.ports import Body
from pypid.web.http.access_log import path_of
from pypid.web.http.hosts import HostPolicy
from pypid.web.http.proxies import (
    TrustedProxies,
    client_of,
    host_of,
    is_plain,
    plain_host,
    scheme_of,
)
from pypid.web.http.request_body import ClientGone, RequestBody, read_small
from pypid.web.http.request_ids import HEADER, Ids, given_id

if TYPE_CHECKING:
    from pypid.web.fastpath.dependencies import RequestKey, ResponseDependencies, SentHead
    from pypid.web.http.channel import Channel
    from pypid.web.http.form_fields import Fields
    from pypid.web.http.open_file import OpenFile

__all__ = ["ClientGone", "Request", "read_small"]


class Request(server.Request):
    """One request; `client_address`, `scheme` and `base_host` heed the trusted proxies
    of the site.
    """

    channel: Channel
    body: Body
    """The body. A handler need not read it, and need not close it."""
    identity: Identity = ANONYMOUS
    """Who sends it, once the guard knows; for the access log."""
    session: str | None = None
    """The secret of the session by whose cookie the guard knows it; in no repr."""
    page = False
    """Whether it asks for a page of the site: then errors are pages, too."""
    form: Fields | None = None
    """The fields of a form that the guard has read."""
    question: RequestKey | None = None
    """What the front door may keep the answer for."""
    about: ResponseDependencies | None = None
    """What the answer depends on, if the route says so: only then it may be kept."""
    whole: bytes = b""
    """The body of an answer that may be kept, as it was sent."""
    opened: OpenFile | None = None
    """The file that is the whole body, for an answer that may be kept."""
    head: SentHead | None = None
    """The head of the answer as it was sent; noted only where there is a `question`."""
    rule: str | None = None
    """The rule of its route, once that is found; for the metrics."""
    over = False
    """Whether the answer is complete, or the client has gone."""
    _streamed: RequestBody | None = None
    _begun = False
    _id: str | None = None

    def __init__(self, channel: Channel, *args: Any, **options: Any) -> None:
        super().__init__(channel, *args, **options)  # type: ignore[no-untyped-call]
        self._trusted: TrustedProxies = channel.site.trusted_proxies
        self._public_url: str | None = channel.site.public_url
        self._hosts: HostPolicy = channel.site.hosts
        self._strict_host: bool = channel.strict_host
        self.cors: tuple[str, ...] = channel.site.cors
        """The origins whose scripts may read answers that everyone may read; see `web.http.cors`."""
        self._ids: Ids = channel.site.ids
        self.begun_at: float = channel.site.seconds()
        """When it began to come, on the reactor's clock; for the access log."""

    # --- for the channel ---

    def gotLength(self, length: int | None) -> None:
        """Called by the channel with the length of the body, None where it is chunked; makes
        `body`.
        """
        if length == 0:
            self.body = BytesBody(b"")
            super().gotLength(0)  # type: ignore[no-untyped-call]
        else:
            self.body = self._streamed = RequestBody(length, self.channel)

    def headersReceived(self, command: bytes, uri: bytes, version: bytes) -> None:
        """Called by the channel when the headers of a request with a body are in: what
        `requestReceived` does without one.
        """
        self.method, self.uri, self.clientproto = command, uri, version
        self.path, _, query = uri.partition(b"?")
        self.args = http.parse_qs(query, 1)  # type: ignore[no-untyped-call]

    def handleContentChunk(self, data: bytes) -> None:
        """Called by the decoder of the body: keeps the bytes for `deliver`."""
        if self._streamed is not None:
            self._streamed.feed(data)
            if (
                channel := getattr(self, "channel", None)
            ) is not None:  # it was answered before all of it came
                channel.site.note_received(len(data))

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Called by the channel when the request is complete: the end of a body, or a request
        without one.
        """
        if self._streamed is None:
            super().requestReceived(command, path, version)  # type: ignore[no-untyped-call]
        else:
            self._streamed.end()

    def deliver(self) -> None:
        """Called by the channel when its parser is done with what came: run the handler, or go on
        with it.

        Never from inside the parser, because the handler may end the request.
        """
        if self._streamed is None or self._disconnected:
            return
        if not self._begun:
            self._begun = True
            self.process()  # type: ignore[no-untyped-call]
        self._streamed.wake()

    def finish(self) -> None:
        """The answer is complete."""
        if self.question is not None:
            self.question.answered(self)
        self.opened = None
        self.over = True
        super().finish()  # type: ignore[no-untyped-call]

    @property
    def bodyFull(self) -> bool:
        """Whether too much of the body waits unread."""
        return self._streamed is not None and self._streamed.full

    def failBody(self, error: Exception) -> None:
        """Called by the channel when the rest of the body cannot come."""
        if self._streamed is not None:
            self._streamed.fail(error)

    def discardBody(self) -> None:
        """Called by the channel when the answer is complete: nobody wants the rest."""
        if self._streamed is not None:
            self._streamed.discard()

    def connectionLost(self, reason: Failure) -> None:
        if self.startedWriting and not self.finished:
            self.channel.site.log(
                self
            )  # twisted.web logs finished answers only; this one broke off
        self.opened = None
        self.over = True
        # The order matters: who waits for notifyFinish (Klein) cancels the handler, so that it does
        # not answer into the void.
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        if self._streamed is not None:
            self._streamed.fail(ClientGone())
            self._streamed.wake()

    # --- for handlers ---

    def client_address(self) -> str | None:
        """The IP address of the client; None for a client on a unix socket."""
        if not self._by_proxy:
            return self._peer
        return client_of(self._peer, self._said("x-forwarded-for"), self._trusted)

    @property
    def scheme(self) -> str:
        """``http`` or ``https``: how the client reached us, or the proxy before us."""
        secure = bool(super().isSecure())  # type: ignore[no-untyped-call]
        said = self._said("x-forwarded-proto") if self._by_proxy else ()
        return scheme_of(self._peer, secure, said, self._trusted)

    @property
    def base_host(self) -> str:
        """The host, with its port if one was given, that the client asked for; "" where it named
        none.
        """
        named = self._said("host")
        said = self._said("x-forwarded-host") if self._by_proxy else ()
        return host_of(self._peer, named[0] if named else "", said, self._trusted)

    @property
    def is_for_us(self) -> bool:
        """Whether the Host header is one of this index, or of no matter: a trusted proxy decides
        itself.
        """
        named = self._said("host")
        if not named or self._peer is None or self._by_proxy:
            return True
        return self._hosts.admits(named[0], strict=self._strict_host)

    @property
    def url_host(self) -> str | None:
        """The host that generated URLs begin with, with its port; None where none may be believed.

        What a proxy forwards counts only if the configuration names it: not every proxy replaces
        the X-Forwarded-Host of the client by its own.
        """
        forwarded, named = self.base_host, self._said("host")
        host = forwarded if self._hosts.is_configured(forwarded) else named[0] if named else ""
        return host if is_plain(host) and self._hosts.may_name_urls(host) else None

    @property
    def is_for_public_url(self) -> bool:
        """Whether the client asked for the host of `public_url`."""
        host, scheme = (
            urlsplit(self._public_url or "").netloc,
            urlsplit(self._public_url or "").scheme,
        )
        return bool(host) and plain_host(self.base_host, scheme) == plain_host(host, scheme)

    def is_of(self, origin: str) -> bool:
        """Whether pages of this origin (RFC 6454, 6.2) are ours: of the host that was asked for,
        here or at a trusted proxy, or of ``public_url``. By which scheme does not matter: not every
        proxy says so.
        """
        hosts = [
            *self._said("host")[:1],
            self.base_host,
            (self._public_url or "").partition("://")[2].partition("/")[0],
        ]
        scheme, _, host = origin.partition("://")
        return bool(host) and plain_host(host, scheme) in {
            plain_host(each, scheme) for each in hosts
        }

    @property
    def id(self) -> str:
        """What it is called in the log: as a trusted proxy calls it, or as we do. For when the
        headers are in.
        """
        if self._id is None:
            given = given_id(self._said(HEADER.decode("ascii"))) if self._by_proxy else None
            self._id = given or self._ids.next()
        return self._id

    def isSecure(self) -> bool:
        """Whether the client came by https."""
        return self.scheme == "https"

    def getRequestHostname(self) -> bytes:
        """The host without its port, for the router; HTTP/1.0 need not name one, and a unix socket
        has none.
        """
        if self.requestHeaders.hasHeader(b"host") or host_at(self.host) is not None:
            return bytes(super().getRequestHostname())  # type: ignore[no-untyped-call]
        return b"localhost"

    @property
    def _by_proxy(self) -> bool:
        """Whether what is forwarded is heeded at all."""
        return self._trusted.trust(self._peer)

    @property
    def _peer(self) -> str | None:
        return host_at(self.client)

    def _said(self, name: str) -> list[str]:
        values = self.requestHeaders.getRawHeaders(name.encode("ascii")) or ()
        return [value.decode("latin-1") for value in values]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method.decode('latin-1')} {path_of(self.uri)}>"


def host_at(address: IAddress) -> str | None:
    """The IP address in a Twisted address; None for a unix socket."""
    host = getattr(address, "host", None)
    return host if isinstance(host, str) else None
