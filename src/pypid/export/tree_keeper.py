"""Keeps an exported tree in line with the index, step by step: changes first, then everything else
in the order of names.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from pypid.core.errors import PypidError
from pypid.core.packaging.names import ProjectName
from pypid.export.exporter import Exporter
from pypid.export.options import ExportOptions
from pypid.export.targets import Copy, ExportPlace, Stamp
from pypid.export.visibility import Authority, ExportView, ExportViewer
from pypid.flow import start
from pypid.index import Index

_log = Logger()

BATCH = 64
"""Maximum number of projects written in one step."""
LONG = 0.3
"""Seconds after which a step is too long."""
EVERY = 1.0
"""Minimum seconds between two writes of the lists during a long pass."""
SERIAL_ALONE = 10.0
"""Minimum seconds between two writes of the lists if only the serial of the index has changed:
a changed upstream listing takes one, too.
"""
FULL = 3600.0
"""Seconds between two passes over everything, which repair changes made to the tree from outside.
"""
AGAIN = 10.0
"""Seconds after which a project that could not be written is tried again."""
RENEWAL = 60.0
"""Seconds after which the user's identity is looked up again: a directory does not report changes.
"""
AT_ONCE = 4
"""Number of files copied at the same time."""


@define(eq=False)
class TreeKeeper:
    """Keeps one tree up to date, from `begin` to `end`; call `step` repeatedly. Both `begin` and
    `step` raise what the place raises.
    """

    index: Index
    authority: Authority
    place: ExportPlace
    options: ExportOptions
    stamp: Stamp
    is_whole: bool = field(default=False, init=False)
    """Whether everything has been written since `begin`."""
    exporter: Exporter = field(init=False)
    _viewer: ExportViewer = field(init=False)
    _look: ExportView = field(factory=ExportView, init=False, repr=False)
    _names: tuple[ExportView, set[ProjectName]] | None = field(default=None, init=False, repr=False)
    _basis: Hashable = field(default=None, init=False, repr=False)
    _todo: OrderedDict[ProjectName, bool] = field(factory=OrderedDict, init=False, repr=False)
    """Projects to write next; the value: whether with legacy JSON."""
    _later: OrderedDict[ProjectName, bool] = field(factory=OrderedDict, init=False, repr=False)
    """Projects whose legacy JSON is written when nothing else is to do."""
    _size: int = field(factory=lambda: BATCH, init=False)
    """Number of projects of the next step: fewer if steps take long, so that urgent changes do not
    wait.
    """
    _again: dict[ProjectName, float] = field(factory=dict, init=False, repr=False)
    _wanted: OrderedDict[str, Copy] = field(factory=OrderedDict, init=False, repr=False)
    _copying: dict[str, Deferred[None]] = field(factory=dict, init=False, repr=False)
    _landed: set[ProjectName] = field(factory=set, init=False, repr=False)
    _broken: Exception | None = field(default=None, init=False)
    _changed: bool = field(default=True, init=False)
    """Whether the content of the lists may have changed."""
    _serial: bool = field(default=False, init=False)
    """Whether the serial in the lists may have changed."""
    _listed: float = field(default=0.0, init=False)
    _took: float = field(default=0.0, init=False)
    """Seconds that writing the lists took."""
    _full: float = field(default=0.0, init=False)
    _known: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._viewer = ExportViewer(
            self.index, self.authority, self.options.user, self.options.stored_only
        )
        self.exporter = Exporter(
            self.index, self._viewer, self.place, self.options, self._fetch, clears=True
        )

    async def begin(self) -> None:
        """Claim the place, and remove what may no longer be seen at once."""
        await self.place.claim(self.stamp, clears=True)
        self._basis = await self._viewer.basis()
        self._look = await self._viewer.look()
        await self.place.recall()  # an export that trusts it must not follow
        gone = self.exporter.resume(await self.place.projects(), self._seen())
        try:
            if self.exporter.there or gone:
                await self.exporter.write_lists(self._look, people=False)
        finally:  # also if the disk is full: what may no longer be seen must not wait
            await self.exporter.tidy(gone)
        if gone:  # afterwards, since all projects are read for it
            await self.exporter.write_lists(self._look)
        self._todo.update((summary.name, False) for summary in self._look.names)
        self._later.update((summary.name, True) for summary in self._look.names)
        self._full = self._known = self.index.world.clock.seconds()

    async def step(self) -> bool:
        """Do the most urgent work; return whether there is more to do at once."""
        if self._broken is not None:
            raise self._broken
        now = self.index.world.clock.seconds()
        gone = await self._looked(now)
        gone |= await self._due(now)
        if gone:
            self._forget(gone)
            try:
                await self._lists(people=False)
            finally:  # as in `begin`
                await self.exporter.tidy(sorted(gone))
            await self._lists()
        await self._write_some(now)
        await self._lists_if_due()
        if (
            not self._todo
            and not self._later
            and not self._wanted
            and not self._copying
            and not self.is_whole
        ):
            await self.place.settle()
            self.is_whole = True
        return bool(self._todo or self._later)

    async def _write_some(self, now: float) -> None:
        """Write the next projects: changes first, and pages for installers before legacy JSON."""
        queue = self._todo or self._later
        if not queue:
            await self.place.prepare(0, self.options)
            return
        self._changed |= queue is self._todo
        await self.place.prepare(len(self._todo) + len(self._later), self.options)
        batch = [queue.popitem(last=False) for _ in range(min(self._size, len(queue)))]
        light = [name for name, whole in batch if not whole]
        await self.exporter.write([name for name, whole in batch if whole])
        await self.exporter.write(light, light=True)
        await self.exporter.tidy()
        self._later.update((name, True) for name in light if name in self.exporter.unfinished)
        self._again.update((name, now + AGAIN) for name, _ in batch if name in self.exporter.failed)
        took = self.index.world.clock.seconds() - now
        self._size = max(1, self._size // 2) if took > LONG else min(BATCH, self._size * 2)

    async def end(self) -> None:
        """Cancel the copies under way."""
        self._wanted.clear()
        for copying in list(self._copying.values()):
            copying.cancel()

    # --- queue ---

    async def _looked(self, now: float) -> set[ProjectName]:
        """Look for changes and queue them first; return the projects that are no longer visible."""
        if self.options.user is not None and now - self._known >= RENEWAL:
            self._known = now
            await self._viewer.who(renewed=True)
        basis = await self._viewer.basis()
        if basis == self._basis:
            return set()
        look = await self._viewer.look()
        between = await self._viewer.compared(self._look, look)
        self._look, self._basis = look, basis
        if between.all:
            self._put_back(summary.name for summary in look.names)
        self._urge(between.changed)
        self._changed |= bool(between.changed or between.gone)
        self._serial = True
        return set(between.gone)

    async def _due(self, now: float) -> set[ProjectName]:
        """Queue projects that time has changed, whose files were copied, or that failed before;
        return those that are no longer visible.
        """
        gone: set[ProjectName] = set()
        moment = self.index.world.now()
        due = [name for name, until in self.exporter.until.items() if until <= moment]
        due += [name for name, at in self._again.items() if at <= now]
        due += self._landed
        if due:
            seen = self._seen()
            self._urge(name for name in due if name in seen)
            gone = {name for name in self._landed if name not in seen}
            for name in due:
                self._again.pop(name, None)
                self.exporter.until.pop(name, None)
            self._landed.clear()
        if now - self._full >= FULL and not self._todo:
            self._full = now
            self.is_whole = False
            await self.place.claim(self.stamp, clears=True)
            self._put_back(summary.name for summary in self._look.names)
            self._changed = True
            gone |= (await self.place.projects()).keys() - self._todo.keys()
        return gone

    def _seen(self) -> set[ProjectName]:
        """Return the names of all visible projects."""
        if self._names is None or self._names[0] is not self._look:
            self._names = self._look, {summary.name for summary in self._look.names}
        return self._names[1]

    def _urge(self, names: Iterable[ProjectName]) -> None:
        for name in names:
            self._todo[name] = True
            self._todo.move_to_end(name, last=False)
            self._later.pop(name, None)

    def _put_back(self, names: Iterable[ProjectName]) -> None:
        for name in names:
            self._todo.setdefault(name, False)

    def _forget(self, gone: Iterable[ProjectName]) -> None:
        for name in gone:
            self._todo.pop(name, None)
            self._later.pop(name, None)
            self._again.pop(name, None)
        self.exporter.forget(gone)

    # --- lists ---

    async def _lists_if_due(self) -> None:
        passed = self.index.world.clock.seconds() - self._listed
        is_long = passed >= max(EVERY, 10 * self._took)
        if (self._changed and (not self._todo or is_long)) or (
            self._serial and passed >= SERIAL_ALONE
        ):
            # while projects of an earlier run are not read again, the changelog would lack them
            await self._lists(
                people=not self._todo or not self.exporter.newest.unread(self.exporter.there)
            )

    async def _lists(self, *, people: bool = True) -> None:
        self._changed = self._serial = False
        clock = self.index.world.clock
        begun = clock.seconds()
        await self.exporter.write_lists(self._look, people=people)
        self._listed = clock.seconds()
        self._took = self._listed - begun

    # --- files ---

    async def _fetch(self, _: Exporter, copies: Sequence[Copy]) -> Sequence[Copy]:
        """Start copying in the background; all are returned, since none is there yet."""
        for copy in copies:
            if copy.path not in self._copying:
                self._wanted[copy.path] = copy
        self._carry_on()
        return copies

    def _carry_on(self) -> None:
        while self._wanted and len(self._copying) < AT_ONCE and self._broken is None:
            path, copy = self._wanted.popitem(last=False)
            done: Deferred[None] = start(self._carried(copy))
            if not done.called:
                self._copying[path] = done

                def ended(_: object, path: str = path) -> None:
                    self._copying.pop(path, None)
                    self._carry_on()

                done.addBoth(ended)

    async def _carried(self, copy: Copy) -> None:
        name = copy.file.project
        try:
            await self.exporter.carry(copy)
        except CancelledError:
            return
        except PypidError as error:
            if name not in self._again:
                _log.warn(
                    "{path} could not be copied; pypid tries again: {error}",
                    path=copy.path,
                    error=error,
                )
            self._again[name] = self.index.world.clock.seconds() + AGAIN
        except Exception as error:  # an error of the place: `step` raises it
            self._broken = error
        else:
            self._landed.add(name)
