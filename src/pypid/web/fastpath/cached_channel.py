"""The cache lookup for connections: known requests are answered here, others go through Klein's
path, whose responses are recorded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from pypid.web.fastpath.open_files import pass_on
from pypid.web.fastpath.push_body import pour_on, sent_at_once
from pypid.web.fastpath.recorder import learn
from pypid.web.fastpath.response_cache import CachedResponse, ResponseVariant, Sent
from pypid.web.fastpath.strict_parser import LONGEST, cut, is_tags, read_line
from pypid.web.http.conditional import names
from pypid.web.http.request import Request

if TYPE_CHECKING:
    from pypid.web.fastpath.fast_path import FastPath
    from pypid.web.http.channel import Channel

LINES = 2000
"""Maximum number of access log lines that wait."""
_VERSION = b" HTTP/1.1"
KEYED = (
    sys.hash_info.algorithm.startswith("siphash")
    and sys.hash_info.width >= 64
    and sys.flags.hash_randomization > 0
)
"""Whether Python's hash of bytes is SipHash with a key of this process: then clients cannot find
other bytes with the hash of bytes that they do not know. So the last header block of a connection
may be recognized by it, without storing the block; everything else is recognized by BLAKE2.
"""

Known = tuple[int, ResponseVariant, bytes | None]
"""Python's hash of a header block, its client, and the value of its If-None-Match."""


@define(eq=False)
class CachedChannel:
    """The cache lookup for one kind of connections, on which equal header blocks mean the same."""

    door: FastPath
    kind: tuple[bool, bool, bool]
    public: dict[bytes, ResponseVariant] = field(factory=dict, repr=False)
    secret: dict[bytes, ResponseVariant] = field(factory=dict, repr=False)
    """The variants by a keyed hash of their header blocks."""

    def answer(self, channel: Channel, data: bytes) -> bool:
        """Answer the data if it is exactly one request whose response is cached; else return False
        without effect.
        """
        self.door.look_around()
        return self.give(channel, data)

    def give(self, channel: Channel, data: bytes) -> bool:
        """Answer the data like `answer`, for a caller that has already called `look_around`."""
        # long, since each call of a part of it would take a hundredth of the time that a response
        # takes
        line, _, block = data.partition(_VERSION)
        tag = None
        variant = self.public.get(block)
        if variant is None:
            known = channel.known
            if known is not None and known[0] == hash(block):
                _, variant, tag = known
            else:
                variant, tag = self._recognised(channel, block)
                if variant is None:
                    return False
        answer = variant.shelf.get(line)
        if answer is None:
            channel.known = None  # the identity may have changed by now
            return False
        door = self.door
        now = door.now
        if (
            now >= answer.until
            or (answer.seen != door.seen and not door.still_holds(answer))
            or (
                variant.proven
                and (
                    variant.epoch != door.epoch.changes
                    or now >= variant.until
                    or now >= door.epoch.until
                )
            )
            or (answer.asks and door.outage.error is not None)
            or door.app.closed is not None
        ):
            channel.known = None
            self._let_go(answer, variant, now)
            return False
        said = answer.full
        if tag is not None and (etag := answer.etag) is not None:  # (a redirect heeds no condition)
            said = answer.same if tag == etag else self._conditionally(answer, etag, tag, data)
        if said is None:
            return False
        file = said.file
        if file is not None and not (channel.direct and file.is_at_hand()):
            return False
        date = door.date
        if said.date is not date:
            said.renew(date)
        variant.used = answer.used = channel.heard = now
        client = variant.client
        if client == "":
            client = channel.client
        if variant.token is not None:
            door.note_use(variant, client)
        if answer.file is not None and said.gives:
            door.note_given(answer, variant, client)
        door.answered += 1
        if file is None and not said.body:
            channel.send(channel.transport, said.head)
        elif not self._begin(
            channel, said, partial(door.note_line, now, client, variant.asker, said.said)
        ):
            return True
        log = door.log
        log.append((door.moment, client, variant.asker, said.said) if door.writes else said.said)
        if not door.due or len(log) >= LINES:
            door.begin_lines(log)
        return True

    def _begin(self, channel: Channel, said: Sent, told: Callable[[int], None]) -> bool:
        """Send a long response; return whether all of it went out at once, so that `told` will not
        be called.
        """
        self.door.quiet = False
        blocking = self.door.app.world.blocking
        if said.file is not None:
            return pass_on(channel, said.head, said.file, blocking, told)
        if sent_at_once(channel, said):
            return True
        pour_on(channel, said.body, blocking, told)
        return False

    def _recognised(
        self, channel: Channel, block: bytes
    ) -> tuple[ResponseVariant | None, bytes | None]:
        """Return the client of a header block and the value of its If-None-Match; the connection
        remembers them.
        """
        words, tag = cut(block)
        variant = self.public.get(words) or self._secretly(words)
        if variant is not None and KEYED:
            channel.known = (hash(block), variant, tag)
        return variant, tag

    def _secretly(self, block: bytes) -> ResponseVariant | None:
        return self.secret.get(self.hashed(block)) if self.secret else None

    def _let_go(self, answer: CachedResponse, variant: ResponseVariant, now: float) -> None:
        """Drop entries that have expired."""
        door = self.door
        if now >= answer.until or answer.seen != door.seen:
            door.store.drop(answer)
        if variant.proven and (variant.epoch != door.epoch.changes or now >= variant.until):
            door.store.drop(variant)

    def _conditionally(
        self, answer: CachedResponse, etag: bytes, tag: bytes, data: bytes
    ) -> Sent | None:
        """Return the response for a client that sends If-None-Match with another value than the
        entity tag.
        """
        if len(data) > LONGEST or not is_tags(tag):
            return None
        same = names(tag.decode("ascii"), etag.decode("latin-1"), weakly=True)
        return answer.same if same else answer.full

    def hashed(self, block: bytes) -> bytes:
        return blake2b(block, key=self.door.key, digest_size=16).digest()

    # --- recording ---

    def question(self, channel: Channel, data: bytes) -> Asking | None:
        """Return the cache key for data that are exactly one request whose response may be cached;
        else None.
        """
        door = self.door
        if len(data) > LONGEST or door.app.closed is not None:
            return None
        line, version, block = data.partition(_VERSION)
        if not version or not read_line(line):
            return None
        block, _ = cut(block)
        return Asking(self, line, block, door.look(), door.epoch.changes)


@frozen(eq=False)
class Asking:
    """A request on its way through Klein's path: its line and its header block, and the state when
    it came.
    """

    doorway: CachedChannel
    line: bytes
    block: bytes = field(repr=False)
    seen: int
    epoch: int

    def answered(self, request: Request) -> None:
        """Record the response if the route has declared its dependencies (`RequestKey`)."""
        if request.about is not None:
            learn(self, request, request.about)
