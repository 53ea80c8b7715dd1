"""The list of projects, patched: whatever happened, it is byte for byte the list that would be made
anew.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import gzip
from pathlib import Path

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.catalog.shared import SharedCatalog
from pypid.core import summaries
from pypid.core.model import Status
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import EVERYTHING, Visibility
from pypid.core.policy import Policy
from pypid.core.simple_api.render import Format, render_names
from pypid.core.summaries import in_runs
from pypid.upstream.nothing import Nothing
from pypid.web.app.page_cache import ProjectPages, patched
from pypid.web.http.headers import Encoding
from tests.index.uploads import an_index
from tests.support import world
from tests.support.catalog import a_file, a_project
from tests.support.engines import a_catalog
from tests.support.worlds import Awaiting

NAMES = [ProjectName(f"p{number:02}") for number in range(30)]
numbers = st.sampled_from(NAMES)
SIGHTS = (
    EVERYTHING,
    Visibility(usual=True, others=frozenset(NAMES[3:9])),
    Visibility(usual=False, others=frozenset(NAMES[::4])),
    Visibility(
        usual=True,
        others=frozenset(),
        within=("p1*", "p2?"),
        anyway=Visibility(False, frozenset(NAMES[:2])),
    ),
    Visibility(usual=False, others=frozenset()),
)
deeds = st.lists(
    st.tuples(st.sampled_from(["publish", "quarantine", "remove", "keep", "drop"]), numbers),
    max_size=25,
)


class PatchedTests(Awaiting, SynchronousTestCase):
    """`ProjectPages.names` through any changes."""

    def setUp(self) -> None:
        self.patch(summaries, "RUN", 3)

    def do(self, catalog: SharedCatalog, what: str, name: ProjectName) -> None:
        """Something happens to a project."""
        status = Status.QUARANTINED if what == "quarantine" else Status.ACTIVE
        kept = (replace(a_file(name, "1"), key=f".kept/{name}"),) if what == "keep" else ()
        match what:
            case "publish" | "quarantine":
                ours = evolve(a_project(name, "1"), status=status)
                self.have(
                    catalog.local.edit(
                        name,
                        lambda held: evolve(
                            ours, status_reason=held.status_reason + "x" if held else ""
                        ),
                    )
                )
            case "remove":
                self.have(catalog.local.edit(name, lambda _: None))
            case _:
                self.have(catalog.upstream.edit(name, lambda heard: evolve(heard, kept=kept)))

    def test_any(self) -> None:
        """After each change everybody has what a rendering anew of what they see would be, plain
        and gzipped.
        """

        @settings(max_examples=25, deadline=None, database=None)
        @given(deeds)
        def check(some: list[tuple[str, ProjectName]]) -> None:
            outside, catalog = world(), a_catalog()
            index = an_index(
                MemoryBlobs(outside.now),
                catalog,
                Nothing(),
                Policy(),
                outside,
                spool=Path("unused"),
            )
            self.have(catalog.complete())
            pages = ProjectPages(index, outside)
            for what, name in some:
                self.do(catalog, what, name)
                everything = tuple(self.have(index.stored_names()))
                serial = self.have(catalog.serial())
                for by in SIGHTS:
                    seen = tuple(summary for summary in everything if by.sees(summary.name))
                    of_them = (
                        serial
                        if by.sees_all
                        else max((summary.serial for summary in seen), default=0)
                    )
                    for format in Format:
                        finished, said = self.have(pages.names(format, by))
                        anew = render_names(seen, format, serial=of_them)
                        plain = self.have(finished.in_encoding(Encoding.IDENTITY))
                        self.assertEqual((plain, said), (anew, of_them))
                        packed = self.have(finished.gzipped())
                        self.assertEqual(
                            packed, patched(in_runs(seen), format, serial=of_them).gzipped(anew)
                        )
                        self.assertEqual(gzip.decompress(packed.body), anew.body)

        check()
