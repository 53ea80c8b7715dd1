"""A request whose handler runs when the headers are in, and whose body is a stream.

`Request.body` is a `pypid.ports.Body`: handlers read it at any pace, or answer without reading it
(401, 403, 413). Requests without a body are exactly those of twisted.web.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from attrs import field, frozen
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from twisted.web import http, server

from pypid.core.configuration.values import parse_duration
from pypid.core.errors import BadRequest, shortened
from pypid.core.permissions import ANONYMOUS, Identity
from pypid.flow import BytesBody
from pypid.ports import Body
from pypid.web.http.access_log import HEADER, Ids, forwarded_id, path_of
from pypid.web.http.connections import (
    HostPolicy,
    TrustedProxies,
    client_of,
    host_of,
    is_plain,
    plain_host,
    scheme_of,
)
from pypid.web.http.form_fields import Fields
from pypid.web.http.request_body import BodyFeed, ClientGone, RequestBody, read_small
from pypid.web.http.response_body import OpenFile

UNIX = "unix"
"""The address of clients of a unix socket for which no trusted proxy names another; rate limits
count them as one place.
"""

__all__ = ["ClientGone", "Request", "read_small"]


class RequestSite(Protocol):
    """The site of a connection, as requests use it."""

    ids: Ids

    @property
    def trusted_proxies(self) -> TrustedProxies: ...

    @property
    def public_url(self) -> str | None: ...

    @property
    def hosts(self) -> HostPolicy: ...

    @property
    def cors(self) -> tuple[str, ...]: ...

    @property
    def seconds(self) -> Callable[[], float]: ...

    def note_received(self, size: int) -> None:
        """Count the bytes of a piece of a request's body."""

    def log(self, request: Request) -> None:
        """Log and count a response that is complete or was broken off."""


class RequestChannel(BodyFeed, Protocol):
    """The connection of a request, as the request uses it."""

    any_host: bool
    client: str | None
    transport: Any

    @property
    def site(self) -> RequestSite: ...

    def pauseProducing(self) -> None: ...


@frozen
class SentHead:
    """The status line and the fields of a response, in the order in which they were sent."""

    first: bytes
    fields: tuple[tuple[bytes, bytes], ...] = field(repr=False)


class ResponseRecorder(Protocol):
    """Records the response to one request for the fast path."""

    def record(self, request: Request) -> None:
        """Record the response, which is complete."""


class Request(server.Request):
    """One request. `client_address`, `scheme` and `base_host` are those that trusted proxies of the
    site report.
    """

    channel: RequestChannel  # type: ignore[assignment]  # what is used of Twisted's
    body: Body
    """The body. A handler need not read it, and need not close it."""
    identity: Identity = ANONYMOUS
    """The client's identity, once the guard has determined it; for the access log."""
    session: str | None = None
    """The secret of the session whose cookie identified the client; not in the repr."""
    page = False
    """Whether it requests a page of the site: then errors are pages, too."""
    form: Fields | None = None
    """The fields of a form that the guard has read."""
    recorder: ResponseRecorder | None = None
    """Records the response for the fast path, which may cache it."""
    dependencies: object | None = None
    """The response's dependencies (`web.fastpath.response_cache`), if the route declares them;
    without them the response is not cached.
    """
    whole: bytes = b""
    """The body of a response that may be cached, as it was sent."""
    opened: OpenFile | None = None
    """The file that is the whole body, for a response that may be cached."""
    head: SentHead | None = None
    """The head of the response as it was sent; recorded only if there is a `recorder`."""
    rule: str | None = None
    """The rule of its route, once that is found; for the metrics."""
    over = False
    """Whether the response is complete, or the client has disconnected."""
    index = ""
    """The name of the index that the path begins with; "" for the default index."""
    _streamed: RequestBody | None = None
    _begun = False
    _is_lost = False
    _id: str | None = None

    def __init__(self, channel: RequestChannel, *args: Any, **options: Any) -> None:
        super().__init__(channel, *args, **options)  # type: ignore[no-untyped-call]
        self._site = channel.site
        self._any_host = channel.any_host
        self.cors: tuple[str, ...] = channel.site.cors
        """The origins whose scripts may read responses that everyone may read; see
        `web.http.cors`.
        """
        self.begun_at: float = channel.site.seconds()
        """When its first bytes arrived, on the reactor's clock; for the access log."""

    # --- for the channel ---

    def use_route(self, rule: str, *, page: bool) -> None:
        """Record the route that answers the request. The client is not identified yet."""
        self.rule, self.page, self.identity = rule, page, ANONYMOUS

    def authenticate(self, identity: Identity, session: str | None = None) -> None:
        """Record the client's identity, and the secret of the session that proves it."""
        self.identity, self.session = identity, session or self.session

    def enter_index(self, name: str) -> None:
        """Remove the name of an index from the beginning of `path` and `postpath`, so that routes
        match as in the default index. `uri` does not change.
        """
        self.index, self.postpath = name, (self.postpath or [])[1:]
        self.path = b"/" + self.path[1:].partition(b"/")[2]

    def keep_form(self, form: Fields) -> None:
        """Record the fields of the form in the body."""
        self.form = form

    def gotLength(self, length: int | None) -> None:
        """Make `body`. Called by the channel with the length of the body, None if it is chunked."""
        if length == 0:
            self.body = BytesBody(b"")
            super().gotLength(0)  # type: ignore[no-untyped-call]
        else:
            self.body = self._streamed = RequestBody(length, self.channel)

    def headersReceived(self, command: bytes, uri: bytes, version: bytes) -> None:
        """Process the headers of a request with a body, as `requestReceived` does without one.
        Called by the channel.
        """
        self.method, self.uri, self.clientproto = command, uri, version
        self.path, _, query = uri.partition(b"?")
        self.args = http.parse_qs(query, 1)  # type: ignore[no-untyped-call]

    def handleContentChunk(self, data: bytes) -> None:
        """Store bytes for `deliver`. Called by the decoder of the body."""
        if self._streamed is not None:
            self._streamed.feed(data)
            self._site.note_received(len(data))

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """End the body, or handle a request without one. Called by the channel when the request is
        complete.
        """
        if self._streamed is None:
            super().requestReceived(command, path, version)  # type: ignore[no-untyped-call]
        else:
            self._streamed.end()

    def deliver(self) -> None:
        """Run the handler, or wake it. Called by the channel when its parser is done with the data.

        Never called from inside the parser, because the handler may end the request.
        """
        if self._streamed is None or self._is_lost:
            return
        if not self._begun:
            self._begun = True
            self.process()  # type: ignore[no-untyped-call]
        self._streamed.wake()

    def finish(self) -> None:
        """Complete the response."""
        if self.recorder is not None:
            self.recorder.record(self)
        self.opened = None
        self.over = True
        super().finish()  # type: ignore[no-untyped-call]

    def record_body(self, body: bytes) -> None:
        """Keep these bytes as the whole body of the response, for the fast path."""
        if self.method != b"HEAD":
            self.whole = body

    def record_file(self, descriptor: int, size: int) -> None:
        """Keep this open file as the whole body of the response, for the fast path."""
        if self.recorder is not None:
            self.opened = OpenFile(descriptor, size)

    def record_head(self, head: SentHead) -> None:
        """Keep the head of the response, for the fast path. Called by the channel."""
        self.head = head

    def record_with(self, recorder: ResponseRecorder | None) -> None:
        """Have the response recorded. Called by the channel before the handler runs."""
        self.recorder = recorder

    @property
    def bodyFull(self) -> bool:
        """Whether too much of the body waits unread."""
        return self._streamed is not None and self._streamed.full

    def failBody(self, error: Exception) -> None:
        """Fail the body. Called by the channel when the rest of it cannot come."""
        if self._streamed is not None:
            self._streamed.fail(error)

    def discardBody(self) -> None:
        """Discard the rest of the body. Called by the channel when the response is complete."""
        if self._streamed is not None:
            self._streamed.discard()

    def connectionLost(self, reason: Failure) -> None:
        if self.startedWriting and not self.finished:
            self._site.log(self)  # twisted.web logs finished responses only, and not broken ones
        self.opened = None
        self.over = self._is_lost = True
        # The order matters: notifyFinish makes Klein cancel the handler, so that it does not answer
        # after the connection is lost.
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        if self._streamed is not None:
            self._streamed.fail(ClientGone())
            self._streamed.wake()

    # --- for handlers ---

    def depends_on(self, dependencies: object | None) -> None:
        """Declare the dependencies of the response (`web.fastpath.response_cache`), so that the
        fast path may cache it; None: it may not.
        """
        self.dependencies = dependencies

    def client_address(self) -> str | None:
        """Return the IP address of the client; None for a client on a unix socket."""
        return client_of(self._peer, self._values_of("x-forwarded-for"), self._site.trusted_proxies)

    @property
    def scheme(self) -> str:
        """``http`` or ``https``: how the client reached this server, or the proxy before it."""
        secure = bool(super().isSecure())  # type: ignore[no-untyped-call]
        return scheme_of(
            self._peer, secure, self._values_of("x-forwarded-proto"), self._site.trusted_proxies
        )

    @property
    def base_host(self) -> str:
        """The host, with its port if it has one, that the client requested; "" if it named
        none.
        """
        named = self._values_of("host")
        forwarded = self._values_of("x-forwarded-host")
        return host_of(self._peer, named[0] if named else "", forwarded, self._site.trusted_proxies)

    @property
    def is_for_us(self) -> bool:
        """Whether the Host header names this index, or does not matter."""
        named = self._values_of("host")
        return not named or self._any_host or self._site.hosts.admits(named[0])

    @property
    def url_host(self) -> str | None:
        """The host that generated URLs begin with, with its port; None if no host is trusted.

        A host that a proxy forwards counts only if the configuration names it: not every proxy
        replaces the X-Forwarded-Host of the client by its own.
        """
        forwarded, named = self.base_host, self._values_of("host")
        host = forwarded if self._site.hosts.is_configured(forwarded) else named[0] if named else ""
        return host if is_plain(host) and self._site.hosts.may_name_urls(host) else None

    @property
    def is_for_public_url(self) -> bool:
        """Whether the client requested the host of `public_url`."""
        host, scheme = (
            urlsplit(self._site.public_url or "").netloc,
            urlsplit(self._site.public_url or "").scheme,
        )
        return bool(host) and plain_host(self.base_host, scheme) == plain_host(host, scheme)

    def is_of(self, origin: str) -> bool:
        """Return whether pages of this origin (RFC 6454, 6.2) belong to this index: to the host
        that was requested, here or at a trusted proxy, or to ``public_url``. The scheme does not
        matter, since not every proxy reports it.
        """
        hosts = [
            *self._values_of("host")[:1],
            self.base_host,
            (self._site.public_url or "").partition("://")[2].partition("/")[0],
        ]
        scheme, _, host = origin.partition("://")
        return bool(host) and plain_host(host, scheme) in {
            plain_host(each, scheme) for each in hosts
        }

    @property
    def id(self) -> str:
        """The id of the request in the log: the one from a trusted proxy, or one of `Ids`. To be
        read after the headers are in.
        """
        if self._id is None:
            is_trusted = self._site.trusted_proxies.trust(self._peer)
            forwarded = (
                forwarded_id(self._values_of(HEADER.decode("ascii"))) if is_trusted else None
            )
            self._id = forwarded or self._site.ids.next()
        return self._id

    def isSecure(self) -> bool:
        """Return whether the client came by https."""
        return self.scheme == "https"

    def getRequestHostname(self) -> bytes:
        """Return the host without its port, for the router; HTTP/1.0 need not name one, and a unix
        socket has none.
        """
        if self.requestHeaders.hasHeader(b"host") or host_at(self.host) is not None:
            return bytes(super().getRequestHostname())  # type: ignore[no-untyped-call]
        return b"localhost"

    @property
    def _peer(self) -> str | None:
        return host_at(self.client)

    def _values_of(self, name: str) -> list[str]:
        values = self.requestHeaders.getRawHeaders(name.encode("ascii")) or ()
        return [value.decode("latin-1") for value in values]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method.decode('latin-1')} {path_of(self.uri)}>"


def host_at(address: IAddress) -> str | None:
    """Return the IP address in a Twisted address; None for a unix socket."""
    host = getattr(address, "host", None)
    return host if isinstance(host, str) else None


# Strict decoding of query parameters: an unknown one is an error, not ignored.

LARGEST_SERIAL = (1 << 63) - 1
"""The largest serial of a log entry that a database can hold."""
LONGEST_VALUE = 300
"""Maximum length of a value in characters."""


@frozen
class Parameter:
    """A query parameter of a route: its name, what it does, and the JSON Schema of its text
    (`web.api.openapi`).
    """

    name: str
    says: str
    schema: Mapping[str, Any] = field(
        factory=lambda: {"type": "string", "maxLength": LONGEST_VALUE}
    )
    required: bool = False


def parameters(request: Request, *known: str) -> dict[str, str]:
    """Return the query's values by name; a name alone (``?all``) has an empty one.

    Raises `BadRequest` for other names, for a name that comes twice, and for values that are not
    printable text in UTF-8. (Twisted's ``args`` leave out a name alone.)
    """
    try:
        query = request.uri.partition(b"?")[2].decode("ascii")
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        raise BadRequest(
            "The query string cannot be read: it has to be UTF-8 text, %-encoded."
        ) from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise BadRequest(
                f"The parameter {shortened(name)!r} is not known here; there are: "
                f"{', '.join(known)}."
            )
        if name in found:
            raise BadRequest(f"The parameter {name} was given more than once.")
        if len(value) > LONGEST_VALUE or not value.isprintable():
            raise BadRequest(
                f"The parameter {name} has more than {LONGEST_VALUE} characters, or some that "
                "cannot be printed."
            )
        found[name] = value
    return found


def names(declared: Iterable[Parameter]) -> tuple[str, ...]:
    """Return the names of the parameters, for `parameters`."""
    return tuple(parameter.name for parameter in declared)


def flag(texts: Mapping[str, str], name: str) -> bool:
    """Return whether the name was given: alone, or with ``yes``. Raises `BadRequest` for anything
    but ``yes`` and ``no``.
    """
    if texts.get(name, "no") not in ("", "yes", "no"):
        raise BadRequest(f"{name} is given alone, or with yes or no.")
    return texts.get(name, "no") != "no"


def duration_of(name: str, text: str) -> timedelta:
    """Return the duration in the text of this name. Raises `BadRequest` for any other text."""
    try:
        return parse_duration(text)
    except ValueError:
        raise BadRequest(
            f"{name} is a duration, a whole number of s, m, h or d (one unit): 7d, for example."
        ) from None


def number(texts: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    """Return the whole number that was given under this name, if any. Raises `BadRequest` for any
    other text.
    """
    text = texts.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise BadRequest(f"{name} is a whole number from {least} to {most}.")
    return int(text)
