"""The door itself: gives the answers that are kept, and learns new ones from Klein's path."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

from attrs import define, evolve, field, frozen
from twisted.internet.interfaces import IDelayedCall
from twisted.web.http import datetimeToString

from pypid.index.standing import stands
from pypid.ports import Glance
from pypid.web.accesslog import AccessLog, Asker, Said
from pypid.web.conditional import names
from pypid.web.face import Face
from pypid.web.frontdoor.files import OpenFiles, pass_on
from pypid.web.frontdoor.kept import Answer, Sent, Store, Variant
from pypid.web.frontdoor.learning import learn
from pypid.web.frontdoor.pouring import pour_on, sent_at_once
from pypid.web.frontdoor.strict import LONGEST, cut, is_tags, read_line
from pypid.web.given import note_given
from pypid.web.guard import UNIX
from pypid.web.request import Request

if TYPE_CHECKING:
    from pypid.web.channel import Channel

LIMIT = 64 << 20
"""Bytes of all that is kept."""
LINES, LATER = 2000, 0.1
"""Lines of the access log that wait at most, and for how many seconds."""
_VERSION = b" HTTP/1.1"
KEYED = sys.hash_info.algorithm.startswith("siphash") and sys.hash_info.width >= 64 and sys.flags.hash_randomization > 0
"""Whether Python's hash of bytes is one that nobody finds words for who does not know this process's key: SipHash."""

Line = tuple[str, str | None, Asker, Said]
Known = tuple[int, Variant, bytes | None]
"""Python's hash of a block, who asks in it, and what they have already."""


class FrontDoor:
    """The front door of one face. `access_log` as the site's; None: nothing is logged.

    For a catalog that is a `Glance`. `close` it, or let the site `drain`, so that the last lines are written.
    """

    def __init__(self, face: Face, glance: Glance, access_log: AccessLog | None = None, *, limit: int = LIMIT) -> None:
        self.face = face
        self.glance = glance
        self.store = Store(limit)
        self.files = OpenFiles(face.world.clock, self.store.drop)
        self.log: list[Line] | None = None if access_log is None else []
        self.seconds = face.world.clock.seconds
        self.key = face.world.random(32)
        self.claims = face.index.policy.claims
        self.outage = face.index.envoy.outage
        self.epoch = face.epoch
        self.answered = 0
        """How many requests were answered here."""
        self.now, self.next_second = 0.0, 0.0
        self.date, self.moment = b"", ""
        self.quiet = False
        """Whether nothing but giving short answers was done since `look_around`: for whoever gives several in one go."""
        self.seen = 0
        self.rights = 0
        """Grows with each change of the rules."""
        self.changes = -1
        self.rules = face.rules
        self.claimed = self.claims.names
        self._access_log = access_log
        self._doorways: dict[tuple[bool, bool], Doorway] = {}
        self.due = False
        self._later: IDelayedCall | None = None

    def doorway(self, secure: bool, trusted: bool) -> Doorway:
        """The one for connections with TLS or without, of peers whose word is believed or not."""
        kind = (secure, trusted)
        if kind not in self._doorways:
            self._doorways[kind] = Doorway(self, kind)
        return self._doorways[kind]

    # --- what is so now ---

    def look(self) -> int:
        """Look around; another number after anything has changed that an answer may depend on, but time and outages."""
        changes, rules, claimed = self.glance.changes, self.face.rules, self.claims.names
        if changes != self.changes or rules is not self.rules or claimed is not self.claimed:
            self.notice()
        return self.seen

    def look_around(self) -> None:
        """See what is so `now`: before each answer, unless it is still `quiet` and nobody else was at work either."""
        now = self.now = self.seconds()
        if now >= self.next_second:
            self.tick(now)
        self.look()
        self.quiet = True

    def notice(self) -> None:
        """Something has changed."""
        self.changes = self.glance.changes
        if self.face.rules is not self.rules or self.claims.names != self.claimed:
            self.rules = self.face.rules
            self.rights += 1
        self.claimed = self.claims.names
        self.seen += 1

    def still_holds(self, answer: Answer) -> bool:
        """Whether it would be made again as it is, though something has changed."""
        if answer.rights != self.rights:
            return False
        if answer.standing is None:
            if answer.changes != self.changes:
                return False
        elif not stands(self.glance, answer.standing):
            return False
        answer.seen = self.seen
        return True

    def tick(self, now: float) -> None:
        """Another second has begun: it is said in each answer, and in each line of the log."""
        self.next_second = now // 1 + 1
        self.date = datetimeToString()  # type: ignore[no-untyped-call]
        self.moment = "" if self._access_log is None else self._access_log.time()

    # --- what was done ---

    def flush(self) -> None:
        """Write the lines that wait."""
        if self.log and self._access_log is not None:
            lines, self.log = self.log, []
            self._access_log.many(lines)

    def begin_lines(self, log: list[Line]) -> None:
        """There are lines to be written, soon; many at once."""
        if len(log) >= LINES:
            self.flush()
        if not self.due:
            self.due = True
            self._later = self.face.world.clock.callLater(LATER, self._flush_due)

    def _flush_due(self) -> None:
        self.due = False
        self.flush()

    def note_line(self, client: str | None, asker: Asker, said: Said, size: int) -> None:
        """A file was sent, or this much of it."""
        if self.log is not None and self._access_log is not None:
            moment = self.moment if self.seconds() < self.next_second else self._access_log.time()
            self.log.append((moment, client, asker, said if size == said.size else evolve(said, size=size)))
            self.begin_lines(self.log)

    def close(self) -> None:
        """Write the lines that wait, and close the files."""
        if self.due and self._later is not None:
            self._later.cancel()
            self.due = False
        self.flush()
        self.files.close()

    def note_use(self, variant: Variant, client: str | None) -> None:
        """A token was used: once a second that is noted for each, and from each address."""
        noted = (self.date, client)
        if variant.noted != noted and self.face.registry is not None and variant.token is not None:
            variant.noted = noted
            self.quiet = False
            self.face.accounts.token_used(variant.token, client or UNIX)

    def note_given(self, answer: Answer, variant: Variant, client: str | None) -> None:
        """A file was given: once a second that is noted, of one after the other to the same client."""
        noted = (self.date, client, variant)
        if answer.noted != noted and answer.file is not None:
            answer.noted = noted
            self.quiet = False
            note_given(self.face, variant.identity, client, answer.file)
            if answer.file.source is not None:
                self.face.index.keeper.touched(answer.file)


@define(eq=False)
class Doorway:
    """The way in for one kind of connections: what is said there in the same words means the same."""

    door: FrontDoor
    kind: tuple[bool, bool]
    public: dict[bytes, Variant] = field(factory=dict, repr=False)
    secret: dict[bytes, Variant] = field(factory=dict, repr=False)
    """By a keyed hash of the words."""

    def answer(self, channel: Channel, data: bytes) -> bool:
        """Answer what came, if it is exactly one request to which the answer is known. Else nothing has happened."""
        self.door.look_around()
        return self.give(channel, data)

    def give(self, channel: Channel, data: bytes) -> bool:
        """As `answer`, for whoever has looked around."""
        # long, since each call of a part of it would take a hundredth of the time that an answer takes
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
            return False
        door = self.door
        now = door.now
        if (
            now >= answer.until
            or (answer.seen != door.seen and not door.still_holds(answer))
            or (variant.proven and (variant.epoch != door.epoch.changes or now >= variant.until))
            or (answer.asks and door.outage.error is not None)
            or door.face.closed is not None
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
        elif not self._begin(channel, said, partial(door.note_line, client, variant.asker, said.said)):
            return True
        log = door.log
        if log is not None:
            log.append((door.moment, client, variant.asker, said.said))
            if not door.due or len(log) >= LINES:
                door.begin_lines(log)
        return True

    def _begin(self, channel: Channel, said: Sent, told: Callable[[int], None]) -> bool:
        """Send what is long; whether all of it went out at once, and nobody will be `told`."""
        self.door.quiet = False
        blocking = self.door.face.world.blocking
        if said.file is not None:
            pass_on(channel, said.head, said.file, blocking, told)
            return False
        if sent_at_once(channel, said.head, said.body):
            return True
        pour_on(channel, said.body, blocking, told)
        return False

    def _recognised(self, channel: Channel, block: bytes) -> tuple[Variant | None, bytes | None]:
        """Who asks in these words, and what they have already; the connection remembers it."""
        words, tag = cut(block)
        variant = self.public.get(words) or self._secretly(words)
        if variant is not None and KEYED:
            channel.known = (hash(block), variant, tag)
        return variant, tag

    def _secretly(self, block: bytes) -> Variant | None:
        return self.secret.get(self.hashed(block)) if self.secret else None

    def _let_go(self, answer: Answer, variant: Variant, now: float) -> None:
        """Keep no longer what is over."""
        door = self.door
        if now >= answer.until or answer.seen != door.seen:
            door.store.drop(answer)
        if variant.proven and (variant.epoch != door.epoch.changes or now >= variant.until):
            door.store.drop(variant)

    def _conditionally(self, answer: Answer, etag: bytes, tag: bytes, data: bytes) -> Sent | None:
        """What is said to somebody who has something already, and perhaps not the same."""
        if len(data) > LONGEST or not is_tags(tag):
            return None
        same = names(tag.decode("ascii"), etag.decode("latin-1"), weakly=True)
        return answer.same if same else answer.full

    def hashed(self, block: bytes) -> bytes:
        return blake2b(block, key=self.door.key, digest_size=16).digest()

    # --- learning ---

    def question(self, channel: Channel, data: bytes) -> Asking | None:
        """What is asked by bytes that are exactly one request whose answer may be kept; None for anything else."""
        door = self.door
        if len(data) > LONGEST or door.face.closed is not None:
            return None
        line, version, block = data.partition(_VERSION)
        if not version or not read_line(line):
            return None
        block, _ = cut(block)
        return Asking(self, line, block, door.look(), door.epoch.changes)


@frozen(eq=False)
class Asking:
    """A request that is on its way through Klein's path: its line and its words, and how things were when it came."""

    doorway: Doorway
    line: bytes
    block: bytes = field(repr=False)
    seen: int
    epoch: int

    def answered(self, request: Request) -> None:
        """As `Question.answered`."""
        if request.about is not None:
            learn(self, request, request.about)
