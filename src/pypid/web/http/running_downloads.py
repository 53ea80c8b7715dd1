"""Downloads that are being sent: those of files that a new rule withholds are cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import define, field

from pypid.core.model import File
from pypid.core.restrictions import RestrictionsInForce

Cut = Callable[[], object]


@define(eq=False)
class RunningDownloads:
    """The downloads that run in this process."""

    restrictions: RestrictionsInForce
    _running: dict[object, tuple[File, Cut]] = field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.restrictions.on_change.append(self._cut_withheld)

    def add(self, file: File, cut: Cut) -> Callable[[], None]:
        """Add a download, whose connection `cut` closes; return the function that removes it."""
        key = object()
        self._running[key] = file, cut

        def remove() -> None:
            self._running.pop(key, None)

        return remove

    @contextmanager
    def during(self, file: File, cut: Cut) -> Iterator[None]:
        """Add a download for as long as the block of code runs."""
        remove = self.add(file, cut)
        try:
            yield
        finally:
            remove()

    def _cut_withheld(self) -> None:
        hold = self.restrictions.current.hold
        for file, cut in [*self._running.values()]:
            if hold(file) is not None:
                cut()
