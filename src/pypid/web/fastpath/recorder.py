"""The recorder of responses from Klein's path: the bytes written, the client, and the
dependencies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pypid.core.permissions import ANONYMOUS
from pypid.index.store.validity import Validity, validity_of
from pypid.web.fastpath.dependencies import ResponseDependencies
from pypid.web.fastpath.response_cache import (
    COST,
    FOR_EVER,
    CachedResponse,
    ResponseVariant,
    Sent,
    seconds_until,
    sent,
    weight_of,
)
from pypid.web.fastpath.strict_parser import read_block
from pypid.web.http.access_log import AccessLog, LogClient, SharedLogFields
from pypid.web.http.request import Request
from pypid.web.http.response_counts import kind_of

if TYPE_CHECKING:
    from pypid.web.fastpath.cached_channel import Asking
    from pypid.web.fastpath.fast_path import FastPath


def learn(asking: Asking, request: Request, about: ResponseDependencies) -> None:
    """Cache the response, if it is still current."""
    door = asking.doorway.door
    if (
        door.look() != asking.seen
        or door.epoch.changes != asking.epoch
        or door.app.closed is not None
    ):
        return  # it may have been made from older data
    standing = None
    if about.project is not None:
        standing = validity_of(door.app.index, door.glance, about.project, about.asked)
        if standing is None:
            return
    variant = _variant(asking, request)
    given = None if variant is None else _sent(door, request)
    if variant is not None and given is not None:
        _keep(asking, request, about, standing, variant, given)


def _keep(
    asking: Asking,
    request: Request,
    about: ResponseDependencies,
    standing: Validity | None,
    variant: ResponseVariant,
    given: Sent,
) -> None:
    door = asking.doorway.door
    now = door.app.world.now()
    ends = [about.until, None if standing is None else standing.until]
    etags = request.responseHeaders.getRawHeaders(b"ETag")
    etag = etags[0] if etags else None
    answer = variant.shelf.get(asking.line)
    if (
        answer is None
        or answer.etag != etag
        or answer.seen != door.seen
        or answer.standing != standing
    ):
        if answer is not None:
            door.store.drop(answer)
        answer = CachedResponse(
            weight=COST,
            used=door.seconds(),
            line=asking.line,
            shelf=variant.shelf,
            rights=door.rights,
            changes=door.changes,
            standing=standing,
            until=FOR_EVER,
            etag=etag,
            file=about.file,
            seen=door.seen,
            asks=standing is not None and standing.asks,
        )
        variant.shelf[asking.line] = answer
        door.store.add(answer)
    answer.until = min(seconds_until(end, now, door.seconds) for end in ends)
    old = weight_of((answer.full, answer.same))
    if request.code == 304:
        answer.same = given
    else:
        answer.full = given
    if given.file is not None:
        door.files.add(answer)
    door.store.grow(answer, weight_of((answer.full, answer.same)) - old)


def _sent(door: FastPath, request: Request) -> Sent | None:
    head, file = request.head, request.opened
    if head is None or request.code not in (200, 302, 304) or request.cookies:
        return None
    if any(name in (b"Set-Cookie", b"Transfer-Encoding", b"Connection") for name, _ in head.fields):
        return None
    if request.code == 200 and request.method != b"HEAD":
        [length] = request.responseHeaders.getRawHeaders(b"Content-Length") or [b"-1"]
        if int(length) != (len(request.whole) if file is None else file.size):
            return None
        if file is not None and door.files.full:
            return None
    entry = AccessLog(door.app.world.now, door.seconds).entry(request)
    said = SharedLogFields(
        entry.method, entry.path, entry.protocol, entry.status, entry.size, kind_of(request)
    )
    whole = request.whole if request.code == 200 else b""
    return sent(
        head, whole, said, gives=request.method == b"GET" and request.code != 304, file=file
    )


def _variant(asking: Asking, request: Request) -> ResponseVariant | None:
    """Return the variant for the client; None if the client cannot be identified by the request."""
    door = asking.doorway.door
    read = read_block(asking.block)
    if read is None:
        return None
    trusted = asking.doorway.kind[1]
    client: str | None = ""
    if trusted and read.forwarded:
        client = request.client_address()
        if (
            client == request.channel.client
        ):  # of the proxy itself, perhaps since the forwarded address is unreadable
            return None
    who = request.identity
    if not read.credential and who != ANONYMOUS:
        return None
    among = asking.doorway.public if read.public else asking.doorway.secret
    words = asking.block if read.public else asking.doorway.hashed(asking.block)
    shelf = door.store.shelf((asking.doorway.kind, read.kind, who))
    old = among.get(words)
    if old is not None:
        door.store.drop(old)
    now = door.seconds()
    ends = seconds_until(who.until, door.app.world.now(), door.seconds)
    variant = ResponseVariant(
        weight=COST + len(words),
        used=now,
        words=words,
        among=among,
        shelf=shelf,
        asker=LogClient(who.user, read.agent[:200]),
        client=client,
        identity=who,
        token=who.token,
        proven=read.credential,
        epoch=asking.epoch,
        until=min(now + door.epoch.lease, ends),
    )
    among[words] = variant
    door.store.add(variant)
    return variant
