"""An `Engine` in a Redis: each operation is one script (`catalog.redis.scripts`).

An awaited change is visible to every node, and as durable as the server makes it: not at all, up to
the last second, or wholly. That is enough: the storage is authoritative, and a server that was
restarted, or took another one's place, resets its rows.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

import pypid.catalog.redis.scripts as scripts
from pypid.catalog import engine
from pypid.catalog.engine import (
    HEARTBEAT,
    MOST_BYTES,
    MOST_ROWS,
    Beat,
    CatalogReset,
    CatalogRow,
    Conflict,
    DatabaseAway,
    DatabaseUnusable,
    Engine,
    EngineState,
    Feed,
    Position,
    RowChange,
    RowKind,
    Slice,
    check_changes,
    repeated,
)
from pypid.catalog.feed_events import AGAIN, SILENCE, FeedEvents
from pypid.catalog.redis.connections import RedisConnections
from pypid.catalog.redis.faults import Lost, refusal
from pypid.catalog.redis.place import RedisPlace
from pypid.catalog.redis.scripts import Script
from pypid.catalog.redis.wire import PATIENCE, RedisWire, Word
from pypid.core.errors import CannotStart
from pypid.core.model import SignedUrl
from pypid.core.packaging.names import ProjectName
from pypid.flow import World, shielded, start

BREATH = 0.01
"""Minimum number of seconds between two reads of the state, so that many changes are reported
together.
"""

Looked = tuple[EngineState, bytes]
"""The state, and the last entry of the stream."""


class StreamFeed:
    """A `Feed` over a connection of its own: it waits for an entry of the stream, or for a
    heartbeat, and then requests the state with `look`, on the connection that it receives.

    The entries carry no data: the state has all of it, so a lost or trimmed entry does no harm. The
    state names the last entry; an entry that was added before the wait began ends the wait at once.
    """

    def __init__(
        self,
        connections: RedisConnections,
        news: bytes,
        look: Callable[[RedisWire], Awaitable[Looked]],
        clock: IReactorTime,
        on_beat: Callable[[Beat], None],
    ) -> None:
        self._connections = connections
        self._news = news
        self._look = look
        self._clock = clock
        self._events = FeedEvents(on_beat)
        self._running: Deferred[None] = start(self._run())

    async def stop(self) -> None:
        ended: Deferred[None] = Deferred()
        self._running.addBoth(lambda result: ended.callback(None))
        if self._events.stop():
            self._running.cancel()
        await ended

    async def _run(self) -> None:
        while not self._events.stopped:
            try:
                await self._follow()
            except CancelledError:
                if not self._events.stopped:
                    raise
            except (DatabaseAway, DatabaseUnusable) as error:
                self._events.lose(error)
            except Exception:
                self._events.fail()
            if not self._events.stopped:
                await deferLater(self._clock, AGAIN)

    async def _follow(self) -> None:
        """Report states as long as the connection holds."""
        wire = await self._connections.open(SILENCE)
        try:
            while True:
                requested_at = self._clock.seconds()
                state, last = await self._look(wire)
                self._events.report(Beat(state, requested_at))
                waiting = ("XREAD", "BLOCK", round(HEARTBEAT * 1000), "STREAMS", self._news, last)
                await wire.ask(*waiting, patience=HEARTBEAT + SILENCE)
                await deferLater(self._clock, BREATH)
        finally:
            wire.cut()
            await wire.ended


_: type[engine.Feed] = StreamFeed


T = TypeVar("T")

GAP = 10_000
"""Added to the last known serial after a loss: the server may have given further serials that this
node does not know.
"""
MOST_GENERATIONS = 5
TIDIED = 1000
"""Rows at a time."""
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
LONGEST_TIME = 18
"""More than the digits of a time in microseconds."""
_KINDS = frozenset(kind.value for kind in RowKind)
_HELD = re.compile(rb"(?P<serial>[0-9]{1,18})(?P<mark>[+-])")
_LOST = EngineState("", 0, 0, False, 0)
"""What the feed reports if the rows are missing or not to be trusted. No copy is of this
generation, so a follower that receives it asks the engine, and gets `CatalogReset`.
"""


class RedisEngine:
    """An `Engine`. Cheap to create: it connects when it is used."""

    def __init__(self, place: RedisPlace, world: World, reactor: Any) -> None:
        self._place = place
        self._world = world
        self._connections = RedisConnections(place, reactor, world.clock)
        self._prefix = b"{%s}:" % place.prefix.encode()
        self._keys = [
            self._prefix + name for name in (b"standing", b"lines", b"order", b"gone", b"news")
        ]
        self._known: tuple[str, int] | None = None
        """The identity of the storage, and the serial when the rows were opened."""

    async def open(self, identity: str, serial: int = 0) -> EngineState:
        gap = 0 if self._known is None else GAP
        generation = self._new_generation()
        answer = await self._write(scripts.OPEN, identity, serial + gap, generation, GAP)
        state = _state(answer)
        self._known = identity, max(serial, state.serial)
        return state

    async def state(self) -> EngineState:
        return _state(await self._read(scripts.STATE))

    async def row(self, kind: RowKind, name: ProjectName) -> CatalogRow | None:
        answer = await self._read(scripts.ROW, _field(kind, name))
        row = _row(kind, name, *answer[1:]) if answer[1:] else None
        return None if row is None or row.line is None else row

    async def changes(self, since: Position, most: int = MOST_ROWS) -> Slice:
        answer = await self._read(
            scripts.CHANGES, since.generation, since.version, most, MOST_BYTES
        )
        fields, versions, held = answer[2::3], answer[3::3], answer[4::3]
        named = zip(map(_unfield, fields), versions, held, strict=True)
        rows = tuple(_row(*which, *rest) for which, *rest in named if which is not None)
        position = Position(since.generation, int(versions[-1])) if versions else since
        return Slice(rows, position, answer[1] == b"1")

    async def swap(self, generation: str, change: RowChange) -> CatalogRow | Conflict:
        made = await self.swap_all(generation, [change])
        return made if isinstance(made, Conflict) else made[0]

    async def swap_all(
        self, generation: str, changes: Sequence[RowChange]
    ) -> Sequence[CatalogRow] | Conflict:
        check_changes(changes)
        words: list[Word] = []
        for change in changes:
            wanted = b"-" if change.line is None else b"+" + change.line
            field = _field(change.kind, change.name)
            words += [field, change.expected, int(change.seen), wanted]
        answer = await self._repeated(scripts.SWAP, generation, *words)
        if answer[0] == b"CONFLICT":
            which = _unfield(answer[1])
            return Conflict(_row(*which, *answer[2:]) if which and answer[2:] else None)
        numbers = zip(map(int, answer[1::2]), map(int, answer[2::2]), strict=True)
        return [
            CatalogRow(change.kind, change.name, *its, change.line)
            for change, its in zip(changes, numbers, strict=True)
        ]

    async def mark_complete(self, generation: str) -> EngineState:
        return _state(await self._repeated(scripts.SAY_COMPLETE, generation))

    async def note_rights(self) -> EngineState:
        return _state(await self._anyhow(scripts.NOTE_RIGHTS))

    async def clear(self) -> EngineState:
        return _state(await self._anyhow(scripts.CLEAR, self._new_generation()))

    async def tidy(self, tombstones: int = 10_000) -> None:
        while int((await self._anyhow(scripts.TIDY, tombstones, TIDIED))[1]):
            pass

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        milliseconds = max(1, round(seconds * 1000))
        return bool(
            await self._on_one_key(scripts.LEASE, b"lease:" + name.encode(), holder, milliseconds)
        )

    async def release(self, name: str, holder: str) -> None:
        await self._on_one_key(scripts.RELEASE, b"lease:" + name.encode(), holder)

    async def link(self, key: str, good_after: datetime) -> SignedUrl | None:
        held = await self._with_one(
            lambda wire: wire.ask("GET", self._prefix + b"link:" + key.encode())
        )
        link = None if held is None else _link(held)
        return None if link is None or link.expires <= good_after else link

    async def keep_link(self, key: str, link: SignedUrl, good_after: datetime) -> SignedUrl:
        # a duration, and not a time: the server's clock may differ
        milliseconds = max(1, (link.expires - self._world.now()) // timedelta(milliseconds=1))
        written = b"%d %s" % (_ticks(link.expires), link.url.encode())
        return _link(
            await self._on_one_key(
                scripts.KEEP_LINK,
                b"link:" + key.encode(),
                _ticks(good_after),
                written,
                milliseconds,
            )
        )

    def follow(self, on_beat: Callable[[Beat], None]) -> Feed:
        return StreamFeed(self._connections, self._keys[-1], self._look, self._world.clock, on_beat)

    async def close(self) -> None:
        await self._connections.close()

    # --- asking ---

    async def _look(self, wire: RedisWire) -> Looked:
        try:
            answer = await self._on(wire, scripts.STATE, patience=SILENCE)
        except CatalogReset:
            return _LOST, b"$"
        return _state(answer), answer[6]

    async def _with_one(self, job: Callable[[RedisWire], Awaitable[T]]) -> T:
        """Return the result of `job` on a connection; try again, at once, if that turns out to be
        closed. (So `job` may run twice.)
        """
        for again in (True, False):
            try:
                async with self._connections.one() as wire:
                    return await job(wire)
            except Lost:
                if not again:
                    raise
        raise AssertionError

    async def _read(self, script: Script, *words: Word) -> list[Any]:
        return await self._with_one(lambda wire: self._on(wire, script, *words))

    async def _write(self, script: Script, *words: Word) -> list[Any]:
        """Run the script to its end even if the caller is cancelled."""
        return await shielded(self._read(script, *words))

    async def _repeated(self, script: Script, *words: Word) -> list[Any]:
        """Run the script as `_write`, and once more if the first attempt was interrupted: it must
        be repeatable.
        """
        return await shielded(repeated(self._world.clock, lambda: self._read(script, *words)))

    async def _anyhow(self, script: Script, *words: Word) -> list[Any]:
        """Run a script that concerns no generation: if the rows were lost, reset them before."""
        for _ in range(MOST_GENERATIONS):
            try:
                return await self._repeated(script, *words)
            except CatalogReset:
                if self._known is None:
                    raise DatabaseAway("the connection has not been opened yet") from None
                try:
                    await self.open(*self._known)
                except CannotStart as error:
                    raise DatabaseUnusable(str(error)) from None
        raise DatabaseAway("it is reset again and again")

    async def _on_one_key(self, script: Script, key: bytes, *words: Word) -> Any:
        """Run a script about one key that does not concern rows."""
        return await shielded(
            self._with_one(lambda wire: wire.run_script(script, [self._prefix + key], *words))
        )

    async def _on(
        self, wire: RedisWire, script: Script, *words: Word, patience: float = PATIENCE
    ) -> list[Any]:
        """Return the answer of a script about rows. Raises also `CatalogReset`, if they are not to
        be trusted.
        """
        answer: list[Any] = await wire.run_script(
            script, self._keys, scripts.SCHEMA, wire.run, *words, patience=patience
        )
        match answer[0]:
            case b"OK" | b"CONFLICT":
                return answer
            case b"ANEW":
                raise CatalogReset
            case b"SCHEMA":
                raise DatabaseUnusable(
                    "it was reset by another version of pypid, with keys of version "
                    f"{answer[1].decode()} (this one: {scripts.SCHEMA}). Run the same version "
                    "everywhere, and start this one again."
                )
            case b"IDENTITY":
                raise CannotStart(
                    "The shared catalog ([catalog] url) is that of another storage. Give each "
                    "storage a catalog of its own (another database, or ?prefix=NAME); where this "
                    "is a copy of the storage that the catalog was made of, begin with an empty "
                    "one."
                )
            case b"REPLICA":
                wire.cut()  # perhaps another server answers at that address by now
        raise refusal(self._place, "REPLICA" if answer[0] == b"REPLICA" else "WRONGTYPE")

    def _new_generation(self) -> str:
        return self._world.random(12).hex()


def _state(answer: list[Any]) -> EngineState:
    _, generation, version, serial, complete, rights, _ = answer
    try:
        return EngineState(
            generation.decode(), int(version), int(serial), complete == b"1", int(rights)
        )
    except (ValueError, AttributeError):
        raise DatabaseUnusable(
            "it holds what no pypid has written. Take its keys away (or a ?prefix=), and it is "
            "filled again."
        ) from None


def _field(kind: RowKind, name: ProjectName) -> bytes:
    return f"{kind.value}/{name}".encode()


def _unfield(field: bytes) -> tuple[RowKind, ProjectName] | None:
    """Return the arguments of `_field` for its result; None for what it never makes."""
    kind, _, name = field.decode(errors="replace").partition("/")
    return None if kind not in _KINDS else (RowKind(kind), ProjectName(name))


def _row(kind: RowKind, name: ProjectName, version: bytes, held: bytes) -> CatalogRow:
    """Return the row. `held` is its serial, and ``+`` with its line, or ``-``; damaged data becomes
    a line that cannot be decoded.
    """
    match = _HELD.match(held)
    if match is None:
        return CatalogRow(kind, name, int(version), 0, held)
    line = held[match.end() :] if match["mark"] == b"+" else None
    return CatalogRow(kind, name, int(version), int(match["serial"]), line)


def _link(held: bytes) -> SignedUrl:
    ends, _, url = held.partition(b" ")
    if not (
        ends.isdigit() and len(ends) < LONGEST_TIME
    ):  # not written by pypid: treat it as expired
        return SignedUrl("", _BEGINNING)
    return SignedUrl(url.decode(errors="replace"), _BEGINNING + int(ends) * _TICK)


def _ticks(moment: datetime) -> int:
    return (moment - _BEGINNING) // _TICK


__: type[Engine] = RedisEngine
