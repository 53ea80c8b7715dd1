"""The recorder of responses from Klein's path, and the strict parser of the requests for which they
are used.

The recorder notes the bytes written, the client, and the dependencies. The parser leaves anything
unusual to twisted.web. A block is what follows the version in the request line: its end, the header
fields, and the empty line behind them. Sources: RFC 9112, sections 2 to 6.
"""

from __future__ import annotations

import re
from datetime import timedelta

from attrs import field, frozen

from pypid.core.permissions import ANONYMOUS
from pypid.index.stored_view import Validity, validity_of
from pypid.web.fastpath.response_cache import (
    COST,
    FOR_EVER,
    CachedResponse,
    FastPathState,
    KnownClient,
    KnownClients,
    ResponseDependencies,
    SentResponse,
    seconds_until,
    split_at_date,
)
from pypid.web.http.access_log import AccessLog, LogClient, SharedLogFields
from pypid.web.http.connections import HOST
from pypid.web.http.request import Request
from pypid.web.http.site import kind_of

LONGEST = 8192
"""Maximum bytes of a request; twisted.web reads twice as many."""
MOST_FIELDS = 64
OF_INDEX = timedelta(seconds=1)
"""How long a response of a named index is served again. It depends on listings and outages of
several upstreams. All other changes invalidate it at once.
"""

_LINE = re.compile(rb"(?:GET|HEAD) /[A-Za-z0-9._~!$&'()*+,;=:@%/-]*(?:\?format=[A-Za-z0-9.+/%-]*)?")
"""Request lines that may be cached. Other queries than this one might contain a secret."""
_FIELD = re.compile(
    rb"([A-Za-z0-9!#$%&'*+.^_`|~-]+): ?"
    rb"((?:[\x21-\x7e\x80-\xff](?:[\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)"
)

_REFUSED = frozenset(
    {
        b"content-length",
        b"expect",
        b"http2-settings",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-request-id",
    }
)
_CREDENTIALS = frozenset({b"authorization", b"cookie", b"proxy-authorization"})
_OF_NO_MATTER = _CREDENTIALS | {
    b"accept-language",
    b"cache-control",
    b"connection",
    b"pragma",
    b"referer",
    b"user-agent",
    b"x-forwarded-for",
}
"""Fields that no response depends on, except through the client's identity."""
_PUBLIC = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"cache-control",
        b"connection",
        b"host",
        b"pragma",
        b"user-agent",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
    }
)
"""Fields that hold no secret; a block of these alone may be stored as it is."""
_TAG = re.compile(rb'\*|(?:W/)?"[\x21\x23-\x7e]*"(?:, ?(?:W/)?"[\x21\x23-\x7e]*")*')


@frozen
class Block:
    """The header fields of a request. `kind`: those that a response may depend on, besides the
    client's identity.
    """

    kind: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    agent: str
    credential: bool
    """Whether it contains credentials."""
    public: bool
    """Whether nothing in it can be a secret."""
    forwarded: bool
    """Whether a proxy states the client's address in it."""


def read_line(line: bytes) -> bool:
    """Return whether the response to a request of this line (without its version) may be cached."""
    return _LINE.fullmatch(line) is not None


def read_block(block: bytes) -> Block | None:
    """Return the parsed block; None if it is unusual, or requests what no cached response
    contains.
    """
    if len(block) > LONGEST or not block.startswith(b"\r\n") or not block.endswith(b"\r\n\r\n"):
        return None
    lines = block[2:-4].split(b"\r\n")
    fields: dict[bytes, bytes] = {}
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            return None
        name = match[1].lower()
        if name in fields or name in _REFUSED:
            return None
        fields[name] = match[2]
    host = fields.get(b"host")
    if host is None or len(fields) > MOST_FIELDS or HOST.fullmatch(host.decode("latin-1")) is None:
        return None
    if fields.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    return Block(
        kind=tuple(
            sorted((name, value) for name, value in fields.items() if name not in _OF_NO_MATTER)
        ),
        agent=fields.get(b"user-agent", b"").decode("latin-1"),
        credential=not _CREDENTIALS.isdisjoint(fields),
        public=_PUBLIC.issuperset(fields),
        forwarded=b"x-forwarded-for" in fields,
    )


def cut(block: bytes) -> tuple[bytes, bytes | None]:
    """Return the block without its If-None-Match, and the value of that; None if there is none, or
    it is spelled unusually.
    """
    start = block.find(b"\r\nIf-None-Match: ")
    if start < 0:
        start = block.find(b"\r\nif-none-match: ")
        if start < 0:
            return block, None
    stop = block.find(b"\r\n", start + 17)
    if stop < 0 or not block.endswith(
        b"\r\n\r\n"
    ):  # else what is cut might be behind the empty line
        return block, None
    return block[:start] + block[stop:], block[start + 17 : stop]


def is_tags(value: bytes) -> bool:
    """Return whether this is a plain list of entity tags, or ``*``."""
    return len(value) <= 1024 and _TAG.fullmatch(value) is not None


@frozen(eq=False)
class Recorder:
    """Records the response to one request on its way through Klein's path: its line, its header
    block, and the state when it came.
    """

    state: FastPathState
    clients: KnownClients
    line: bytes
    block: bytes = field(repr=False)
    version: int
    generation: int

    def record(self, request: Request) -> None:
        """Cache the response if the route has declared its dependencies, and it is still
        current.
        """
        dependencies = request.dependencies
        if not isinstance(dependencies, ResponseDependencies):
            return
        state = self.state
        if (
            state.check() != self.version
            or state.generation.changes != self.generation
            or state.app.closed is not None
        ):
            return  # it may have been made from older data
        validity = None
        if request.index and dependencies.file is not None:
            return  # the download log would need the name of the index
        if dependencies.project is not None and not request.index:
            validity = validity_of(state.app.index, dependencies.project, dependencies.permission)
            if validity is None:
                return
        client = self._client(request)
        sent = None if client is None else self._sent(request)
        if client is not None and sent is not None:
            self._keep(request, dependencies, validity, client, sent)

    def _keep(
        self,
        request: Request,
        dependencies: ResponseDependencies,
        validity: Validity | None,
        client: KnownClient,
        sent: SentResponse,
    ) -> None:
        state = self.state
        etags = request.responseHeaders.getRawHeaders(b"ETag")
        etag = etags[0] if etags else None
        response = client.responses.get(self.line)
        if (
            response is None
            or response.etag != etag
            or response.version != state.version
            or response.validity != validity
        ):
            if response is not None:
                state.store.drop(response)
            response = self._add(client, dependencies, validity, etag)
        now = state.app.world.now()
        ends = [dependencies.until, None if validity is None else validity.until]
        if request.index:
            ends.append(now + OF_INDEX)
        old_size = response.size
        response.keep(
            sent,
            modified=request.code != 304,
            until=min(seconds_until(end, now, state.seconds) for end in ends),
        )
        if sent.file is not None:
            state.files.add(response)
        state.store.grow(response, response.size - old_size)

    def _add(
        self,
        client: KnownClient,
        dependencies: ResponseDependencies,
        validity: Validity | None,
        etag: bytes | None,
    ) -> CachedResponse:
        """Add an entry for the request line to the cache."""
        state = self.state
        response = CachedResponse(
            weight=COST,
            used=state.seconds(),
            line=self.line,
            responses=client.responses,
            rights=state.rights,
            changes=state.changes,
            validity=validity,
            until=FOR_EVER,
            etag=etag,
            file=dependencies.file,
            version=state.version,
            asks_upstream=validity is not None and validity.queries_upstream,
        )
        client.responses[self.line] = response
        state.store.add(response)
        return response

    def _sent(self, request: Request) -> SentResponse | None:
        """Return the response as it was sent; None if it cannot be repeated."""
        head, file, state = request.head, request.opened, self.state
        if head is None or request.code not in (200, 302, 304) or request.cookies:
            return None
        unrepeatable = (b"Set-Cookie", b"Transfer-Encoding", b"Connection")
        if any(name in unrepeatable for name, _ in head.fields):
            return None
        if request.code == 200 and request.method != b"HEAD":
            [length] = request.responseHeaders.getRawHeaders(b"Content-Length") or [b"-1"]
            if int(length) != (len(request.whole) if file is None else file.size):
                return None
            if file is not None and state.files.full:
                return None
        entry = AccessLog(state.app.world.now, state.seconds).entry(request)
        log_fields = SharedLogFields(
            entry.method, entry.path, entry.protocol, entry.status, entry.size, kind_of(request)
        )
        return split_at_date(
            head,
            request.whole if request.code == 200 else b"",
            log_fields,
            sends_file=request.method == b"GET" and request.code != 304,
            file=file,
        )

    def _client(self, request: Request) -> KnownClient | None:
        """Return the client, added to the cache; None if the request does not identify it."""
        block = read_block(self.block)
        if block is None:
            return None
        address: str | None = ""
        if self.clients.kind[1] and block.forwarded:
            address = request.client_address()
            if (
                address == request.channel.client
            ):  # of the proxy itself, perhaps since the forwarded address is unreadable
                return None
        if not block.credential and request.identity != ANONYMOUS:
            return None
        return self._add_client(request, block, address)

    def _add_client(self, request: Request, block: Block, address: str | None) -> KnownClient:
        state, clients, who = self.state, self.clients, request.identity
        table = clients.public if block.public else clients.secret
        key = self.block if block.public else clients.hashed(self.block)
        old = table.get(key)
        if old is not None:
            state.store.drop(old)
        now = state.seconds()
        end = seconds_until(who.until, state.app.world.now(), state.seconds)
        client = KnownClient(
            weight=COST + len(key),
            used=now,
            key=key,
            table=table,
            responses=state.store.responses_for((clients.kind, block.kind, who)),
            log_client=LogClient(who.user, block.agent[:200]),
            address=address,
            identity=who,
            token=who.token,
            proven=block.credential,
            generation=self.generation,
            until=min(now + state.generation.lease, end),
        )
        table[key] = client
        state.store.add(client)
        return client
