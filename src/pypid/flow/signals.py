"""Values that connect objects which would otherwise refer to each other.

The start makes them first, and passes them to both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from pypid.core.errors import CannotStart

P = ParamSpec("P")
T = TypeVar("T")


@frozen(eq=False)
class Signal(Generic[P]):
    """A list of callbacks. `emit` calls them in the order in which they were connected."""

    _callbacks: list[Callable[P, object]] = field(factory=list, init=False, repr=False)

    def connect(self, callback: Callable[P, object]) -> None:
        """Call `callback` at each `emit` from now on."""
        self._callbacks.append(callback)

    def emit(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call all callbacks. Raises what a callback raises."""
        for callback in self._callbacks:
            callback(*args, **kwargs)


@define(eq=False)
class Provider(Generic[T]):
    """A factory that is called once, at the first use; later calls return the same object.

    If the factory raises, the next use calls it again.
    """

    _make: Callable[[], T]
    made: T | None = field(default=None, init=False)
    """The object; None until the first use."""

    def __call__(self) -> T:
        """Return the object."""
        if self.made is None:
            self.made = self._make()
        return self.made


@frozen
class ReloadOutcome:
    """The outcome of a reload: what could not be read again, and which sections of the
    configuration wait for a restart.
    """

    problems: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


@frozen
class Signals:
    """The events of one daemon that objects of different packages exchange."""

    rights_changed: Signal[[]] = field(factory=Signal)
    """The rules in force, or other settings of users, have changed in this process."""
    rights_reported: Signal[[]] = field(factory=Signal)
    """A node has reported to the shared catalog that users or rights have changed."""
    catalog_confirmed: Signal[[]] = field(factory=Signal)
    """The copy of the shared catalog was confirmed to be current."""
    catalog_reset: Signal[[]] = field(factory=Signal)
    """The shared catalog was reset, and has to be filled again."""
    file_cached: Signal[[int]] = field(factory=Signal)
    """An upstream file was stored; the argument is its size in bytes."""
    reload_requested: Signal[[Deferred[ReloadOutcome]]] = field(factory=Signal)
    """A client of the control socket has requested a reload; the argument takes its outcome."""
    cannot_continue: Signal[[CannotStart]] = field(factory=Signal)
    """The configured setup turned out not to work after the start."""
