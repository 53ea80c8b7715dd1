"""What the list of all upstream projects costs, which decides whether a name may be published.

``python benchmarks/public_names.py``         700,000 names
``python benchmarks/public_names.py 50000``

A list is turned into the file of hashes, and names are looked up in it, on a real reactor. Prints
the size of the file, the memory that is used afterwards, the longest stall of the reactor and the
time of a look-up. Downloading and reading the list is measured by ``upstream_pages.py``.
"""

from __future__ import annotations

import gc
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

from _reactor import Stalls, rss, world
from attrs import define, field
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react
from twisted.internet.threads import deferToThread

from pypid.core.configuration.choices import Mode
from pypid.core.packaging.name_sets import ManyNames, in_order
from pypid.core.packaging.names import project_name
from pypid.core.policy import Policy
from pypid.daemon.daemon import SWITCH, use_one_arena
from pypid.index import Index
from pypid.index.upstream.public_names import PublicNames

LOOKED_UP = 1000


@define
class Upstream:
    """An index whose upstream has these names; it is its own gate."""

    all_names: ManyNames
    policy: Policy = field(factory=lambda: Policy(mode=Mode.CACHE))
    upstreams: dict[str, Any] = field(factory=dict)

    @property
    def gate(self) -> Upstream:
        return self

    async def names(self, via: object) -> ManyNames:
        return self.all_names


def at_once(slices: Generator[None, None, ManyNames]) -> ManyNames:
    """Run it to its end at once."""
    while True:
        try:
            next(slices)
        except StopIteration as ended:
            return cast(ManyNames, ended.value)


async def measure(count: int) -> None:
    names = at_once(in_order([sorted(project_name(f"package-{7919 * n}") for n in range(count))]))
    with tempfile.TemporaryDirectory() as folder:
        public = PublicNames(cast(Index, Upstream(names)), Path(folder), world())
        gc.collect()
        gc.freeze()  # as the server does once it is ready
        await deferToThread(lambda: None)  # a thread of the pool
        before = rss()
        stalls = Stalls()
        took, stall = await stalls.during(public.refresh)
        [file] = Path(folder).iterdir()
        used = rss() - before
        print(f"names           {count:>10,}")
        print(f"file            {file.stat().st_size / 1e6:>10.1f} MB")
        print(f"memory          {used:>10.1f} MiB more")
        print(f"writing         {took:>10.1f} s in a thread")
        print(
            f"longest stall   {1000 * stall:>10.1f} ms, {1000 * stalls.own:.1f} ms of them its own"
        )

        async def look_up() -> None:
            for number in range(LOOKED_UP):
                assert await public.holds(project_name(f"package-{7919 * number}"))

        took, stall = await Stalls().during(look_up)
        print(f"a look-up       {1000 * took / LOOKED_UP:>10.2f} ms")


if __name__ == "__main__":
    use_one_arena()  # as the server does
    sys.setswitchinterval(SWITCH)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 700_000
    react(lambda _: ensureDeferred(measure(count)))
