"""Nodes with fast paths: no page is older than what another node acknowledged a second ago, or of
another epoch.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from pathlib import Path

from attrs import define, field
from twisted.internet.error import ConnectionDone

from pypid.catalog.replica_follower import FRESH
from pypid.catalog.shared import SharedCatalog
from pypid.core.errors import CatalogDown, Unauthenticated
from pypid.core.model import Project
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Credential, Identity, Rules
from pypid.index import Index
from pypid.ports import Catalog
from pypid.web.app.app import App
from pypid.web.app.app_settings import AppSettings
from pypid.web.fastpath.cached_channel import FastPath
from pypid.web.http.proxies import HostPolicy
from pypid.web.http.site import Site
from pypid.web.root import resource
from tests.catalog.engines import PlacedEngine
from tests.index.nodes import NodesCase
from tests.index.uploads import SPAM, WHEEL, sent
from tests.web.full_app import Connection, J, spelled
from tests.web.routes import ALL_ROUTES

PAGE, LIST = "/simple/spam/", "/simple/"


class NobodyKnown:
    """Knows no people: everybody is anonymous."""

    async def identify(self, credential: Credential) -> Identity:
        raise Unauthenticated


@define(eq=False)
class Door:
    """A node's face with a fast path."""

    node: Index
    site: Site = field(init=False)
    door: FastPath = field(init=False)

    def __attrs_post_init__(self) -> None:
        assert isinstance(self.node.catalog, SharedCatalog)
        app = App(
            self.node,
            NobodyKnown(),
            Rules(),
            self.node.world,
            AppSettings(spool=Path(), max_upload=1),
            routes=ALL_ROUTES,
        )
        self.door = FastPath(app, self.node.catalog)
        self.site = Site(
            resource(app),
            reactor=self.node.world.clock,
            fast_path=self.door,
            hosts=HostPolicy(("*",)),
        )
        self.site.startFactory()

    def get(self, target: str = PAGE) -> str:
        """The body of the answer; its status where that is another than 200."""
        connection = Connection(self.site)
        connection.send(spelled("GET", target, ("Accept", J)))
        answer = connection.answer()
        assert answer is not None
        connection.lose(ConnectionDone())
        return answer.text if answer.status == 200 else str(answer.status)

    def answers(self, target: str = PAGE) -> bool:
        """Whether it knows the answer by itself."""
        before = self.door.answered
        self.get(target)
        return self.door.answered > before


class FreshTests(NodesCase):
    """What a node's door says of what the other one did."""

    def setUp(self) -> None:
        super().setUp()
        self.have(self.here.reconcile())
        self.publish(self.here, sent(b"0"))
        self.go(1)
        self.door = Door(self.there)
        self.addCleanup(self.door.door.close)

    def prove(self) -> None:
        """At each moment the page shows all that was acknowledged `FRESH` seconds ago or earlier,
        whatever it was.
        """
        acknowledged: list[tuple[float, int]] = []
        answered = self.door.door.answered
        for step in range(60):
            if step % 7 == 0:
                self.publish(self.here, sent(b"%d" % step, f"spam-{step + 2}.0.tar.gz"))
                acknowledged.append((self.clock.seconds(), step))
            self.clock.advance(0.1)
            page = self.door.get()
            for moment, number in acknowledged:
                if self.clock.seconds() - moment >= FRESH:
                    self.assertIn(f"spam-{number + 2}.0.tar.gz", page)
        self.assertGreater(self.door.door.answered, answered)

    def test_late(self) -> None:
        """The same where what the feed tells comes late."""
        self.placed().late = 0.7
        self.prove()
        self.placed().late = 5.0
        self.go(6)
        self.prove()

    def placed(self) -> PlacedEngine:
        """The engine of the node behind the door."""
        engine = self.catalog(self.there).following.engine
        assert isinstance(engine, PlacedEngine)
        return engine

    def test_away(self) -> None:
        """While the engine cannot be asked the door answers nothing by itself; and knows again when
        it is back.
        """
        page = self.door.get()
        self.assertTrue(self.door.answers())
        self.cut_off(self.there)
        self.assertFalse(self.door.answers())
        self.assertFalse(self.door.answers())
        self.assertEqual(self.door.get(), page)
        self.publish(self.here, sent(b"1", "spam-2.0.tar.gz"))
        self.cut_off(self.there, off=False)
        self.assertIn("spam-2.0.tar.gz", self.door.get())
        self.assertTrue(self.door.answers())

    def test_unsettled(self) -> None:
        """A change that the catalog was not told, since it went away just then, shows here while it
        is away, and when it has been told.
        """
        self.door.get()
        engine = self.placed()
        engine.before_swap.append(lambda: setattr(engine, "is_down", True))
        self.refused(self.there.yank(SPAM, [WHEEL], "it is broken"), CatalogDown)
        self.go(1.5)
        self.assertIn("it is broken", self.door.get())
        self.cut_off(self.there, off=False)
        self.assertEqual(self.have(self.there.maintenance.flush_pending_updates()), 0)
        for _ in range(3):
            self.assertIn("it is broken", self.door.get())
            self.go(0.5)
        self.assertTrue(self.door.answers())


class EpochTests(NodesCase):
    """The catalog is begun anew, by a node that knows of fewer serials."""

    def test_same_heads(self) -> None:
        """What was kept by a serial of the old epoch is not taken for what has the same one in the
        new: neither a project's page nor the list, by the door or behind it.
        """
        self.publish(self.here, sent(b"eggs", "eggs-1.0.tar.gz"))
        self.publish(self.here, sent(b"0"))
        self.publish(self.here, sent(b"eggs", "eggs-2.0.tar.gz"))
        self.have(self.there.reconcile())
        self.go(1)
        door = Door(self.there)
        self.addCleanup(door.door.close)
        self.assertIn(WHEEL, door.get(PAGE))
        self.assertIn("eggs", door.get(LIST))
        self.assertTrue(door.answers(PAGE) and door.answers(LIST))
        head, serial = (
            self.catalog(self.there).heads(SPAM)[0],
            self.have(self.there.catalog.serial()),
        )
        assert head is not None

        self.cut_off(self.here, self.there)
        self.place.lose()
        other = self.node().catalog
        self.begin(other, head.serial - 1)
        self.have(other.local.edit(SPAM, lambda _: Project(name=SPAM)))
        self.begin(other, serial)
        self.have(other.complete())
        self.cut_off(self.here, self.there, off=False)

        self.assertEqual(self.catalog(self.there).heads(SPAM)[0], head)
        self.assertEqual(self.have(self.there.catalog.serial()), serial)
        self.assertNotIn(WHEEL, door.get(PAGE))
        self.assertNotIn("eggs", door.get(LIST))
        self.assertIn("ham", door.get(LIST))

    def begin(self, catalog: Catalog, serial: int) -> None:
        """Change another project until the catalog has come to this serial."""
        while (now := self.have(catalog.serial())) < serial:
            ham = Project(name=project_name("ham"), status_reason=f"{now}")
            self.have(catalog.local.edit(ham.name, lambda _, ham=ham: ham))  # type: ignore[misc]
