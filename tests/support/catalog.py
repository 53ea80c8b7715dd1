"""The contract of `Catalog`, as tests."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from datetime import UTC, datetime

from attrs import evolve
from hypothesis import stateful
from hypothesis import strategies as st

from pypid.core.model import (
    Listing,
    LocalProject,
    Presence,
    Project,
    Status,
    Summary,
    UpstreamEntry,
)
from pypid.core.packaging.names import ProjectName, project_name
from pypid.ports import Catalog
from tests.support.examples import SPAM, a_file, a_listing, a_project, becomes
from tests.support.models import run_model
from tests.support.worlds import Awaiting

__all__ = ["SPAM", "CatalogContract", "CatalogModel", "a_file", "a_listing", "a_project", "becomes"]


class CatalogContract(Awaiting):
    """Mix into a `SynchronousTestCase` whose `make` gives a new, empty catalog."""

    async def make(self) -> Catalog:
        """Return a new, empty catalog."""
        raise NotImplementedError

    def setUp(self) -> None:
        super().setUp()
        self.renew()

    def renew(self) -> None:
        """Replace the catalog under test by a new, empty one."""
        self.catalog = self.have(self.make())

    async def complete(self) -> None:
        """Note that all of the storage has been compared."""
        await self.catalog.complete()

    def put(self, project: LocalProject, mark: str | None = None) -> LocalProject:
        """Store the project; return its new state."""
        held = self.have(self.catalog.local.edit(project.name, becomes(project), mark=mark))
        assert held is not None
        return held

    def test_holds_what_was_put(self) -> None:
        """Every field of a project and its files comes back, with the serial of the change."""
        project: LocalProject = Project(
            name=SPAM,
            files=(
                a_file(SPAM, "1.0", yanked=""),
                a_file(SPAM, "2.0", yanked="br\u00f6ken"),
                a_file(SPAM, "3", summary=None),
            ),
            status=Status.DEPRECATED,
            status_reason="use ham",
        )
        held = self.put(project)
        self.assertEqual(held, evolve(project, serial=self.have(self.catalog.serial())))
        self.assertEqual(self.have(self.catalog.local.get(SPAM)), held)

    def test_unknown_is_not_absent(self) -> None:
        """A project that is not held is unknown until the comparison with storage is complete, and
        absent from then on.
        """
        self.assertIs(self.have(self.catalog.local.get(SPAM)), Presence.UNKNOWN)
        self.assertFalse(self.have(self.catalog.is_complete()))
        self.assertFalse(self.catalog.was_complete)
        self.catalog.begin_comparison()
        self.have(self.complete())
        self.assertTrue(self.have(self.catalog.is_complete()))
        self.assertTrue(self.catalog.was_complete)
        self.assertIs(self.have(self.catalog.local.get(SPAM)), Presence.ABSENT)
        self.put(a_project(SPAM))
        self.assertIsInstance(self.have(self.catalog.local.get(SPAM)), Project)
        self.have(self.catalog.local.edit(SPAM, becomes(None)))
        self.assertIs(self.have(self.catalog.local.get(SPAM)), Presence.ABSENT)

    def test_edits_what_is_held(self) -> None:
        """An edit is given the current project, with its serial, or None."""
        seen: list[LocalProject | None] = []

        def change(project: LocalProject | None) -> LocalProject | None:
            seen.append(project)
            return (
                a_project(SPAM, "1") if project is None else evolve(project, status=Status.ARCHIVED)
            )

        first = self.have(self.catalog.local.edit(SPAM, change))
        second = self.have(self.catalog.local.edit(SPAM, change))
        self.assertEqual(seen, [None, first])
        assert first is not None and second is not None
        self.assertEqual((second.status, second.serial), (Status.ARCHIVED, first.serial + 1))

    def test_equal_changes_nothing(self) -> None:
        """An edit that gives an equal project (whatever its serial) takes no serial and keeps the
        list of names.
        """
        held = self.put(a_project(SPAM, "1"), mark="m")
        names = self.have(self.catalog.local.summaries())
        self.assertEqual(self.put(evolve(held, serial=77)), held)
        self.assertIsNone(
            self.have(self.catalog.local.edit(project_name("ham"), lambda project: project))
        )
        self.assertEqual(self.have(self.catalog.serial()), held.serial)
        self.assertIs(self.have(self.catalog.local.summaries()), names)
        self.assertEqual(self.have(self.catalog.local.mark(SPAM)), "m")

    def test_edit_that_raises(self) -> None:
        """An edit that raises changes nothing, and the caller gets what it raised."""
        held = self.put(a_project(SPAM, "1"))

        def change(project: LocalProject | None) -> LocalProject | None:
            raise ZeroDivisionError

        self.refused(self.catalog.local.edit(SPAM, change), ZeroDivisionError)
        self.assertEqual(self.have(self.catalog.local.get(SPAM)), held)

    def test_edit_keeps_the_name(self) -> None:
        """An edit cannot make another project of it."""
        self.refused(
            self.catalog.local.edit(SPAM, becomes(a_project(project_name("ham")))), ValueError
        )
        self.assertEqual(list(self.have(self.catalog.local.summaries())), [])

    def test_edits_all(self) -> None:
        """Several projects change as one step, with one serial; those that are equal stay."""
        ham, eggs = project_name("ham"), project_name("eggs")
        spam = self.put(a_project(SPAM, "1"), mark="m")
        gone = self.put(a_project(eggs, "1"))
        same = self.put(a_project(project_name("same"), "1"), mark="m")
        seen: list[LocalProject | None] = []

        def change(project: LocalProject | None) -> LocalProject | None:
            seen.append(project)
            return a_project(SPAM, "1", "2")

        made = self.have(
            self.catalog.local.edit_all(
                {
                    SPAM: change,
                    ham: becomes(a_project(ham, "1")),
                    eggs: becomes(None),
                    same.name: becomes(evolve(same, serial=99)),
                    project_name("never"): becomes(None),
                }
            )
        )
        serial = gone.serial + 2
        self.assertEqual(seen[-1], spam)
        self.assertEqual(self.have(self.catalog.serial()), serial)
        self.assertEqual(
            made,
            {
                SPAM: a_project(SPAM, "1", "2", serial=serial),
                ham: a_project(ham, "1", serial=serial),
                eggs: None,
                same.name: same,
                project_name("never"): None,
            },
        )
        for name in (SPAM, ham, same.name):
            self.assertEqual(self.have(self.catalog.local.get(name)), made[name])
        self.assertIs(self.have(self.catalog.local.get(eggs)), Presence.UNKNOWN)
        self.assertIsNone(self.have(self.catalog.local.mark(SPAM)))
        self.assertEqual(self.have(self.catalog.local.mark(same.name)), "m")
        names = self.have(self.catalog.local.summaries())
        self.have(self.catalog.local.edit_all({SPAM: lambda project: project}))
        self.have(self.catalog.local.edit_all({}))
        self.assertEqual(self.have(self.catalog.serial()), serial)
        self.assertIs(self.have(self.catalog.local.summaries()), names)

    def test_edit_all_that_raises(self) -> None:
        """If one of several edits raises, or makes another project, none has changed anything."""
        ham = project_name("ham")
        held = self.put(a_project(SPAM, "1"))

        def change(project: LocalProject | None) -> LocalProject | None:
            raise ZeroDivisionError

        changes = {SPAM: becomes(a_project(SPAM, "2")), ham: change}
        self.refused(self.catalog.local.edit_all(changes), ZeroDivisionError)
        changes[ham] = becomes(a_project(SPAM))
        self.refused(self.catalog.local.edit_all(changes), ValueError)
        self.assertEqual(self.have(self.catalog.local.get(SPAM)), held)
        self.assertEqual(self.have(self.catalog.serial()), held.serial)

    def test_serials_grow(self) -> None:
        """Each change of any project, and a removal, takes the next serial."""
        ham = project_name("ham")
        begin = self.have(self.catalog.serial())
        serials = [
            self.put(a_project(SPAM)).serial,
            self.put(a_project(ham)).serial,
            self.put(a_project(SPAM, "1")).serial,
        ]
        self.have(self.catalog.local.edit(ham, becomes(None)))
        self.assertEqual(serials, [begin + 1, begin + 2, begin + 3])
        self.assertEqual(self.have(self.catalog.serial()), begin + 4)

    def test_names(self) -> None:
        """The list of projects is sorted by name, and another object only after a change."""
        for text in ("spam", "ham", "eggs-2", "eggs", "eggs-10", "0"):
            self.put(a_project(project_name(text), "1"))
        archived = self.put(a_project(project_name("ham"), "1", status=Status.ARCHIVED))
        names = self.have(self.catalog.local.summaries())
        self.assertEqual(
            [summary.name for summary in names], ["0", "eggs", "eggs-10", "eggs-2", "ham", "spam"]
        )
        self.assertEqual(names[4], Summary(archived.name, archived.serial, Status.ARCHIVED))
        self.assertIs(self.have(self.catalog.local.summaries()), names)
        self.have(self.catalog.local.edit(archived.name, becomes(None)))
        self.assertEqual(
            [summary.name for summary in self.have(self.catalog.local.summaries())],
            ["0", "eggs", "eggs-10", "eggs-2", "spam"],
        )
        self.assertEqual(len(names), 6)

    def test_their_summaries(self) -> None:
        """Upstream projects with cached files are listed, by name, and with the status of the last
        listing.
        """
        for text in ("spam", "ham", "eggs"):
            self.store_listing(a_listing(project_name(text), "1"))
        self.assertEqual(list(self.have(self.catalog.upstream.summaries())), [])
        for text in ("spam", "ham"):
            self.store_files(project_name(text), "1")
        gone = self.store_listing(a_listing(project_name("ham"), "1", status=Status.QUARANTINED))
        summaries = self.have(self.catalog.upstream.summaries())
        spam = self.have(self.catalog.upstream.get(SPAM))
        self.assertEqual(
            list(summaries),
            [
                Summary(gone.name, gone.serial, Status.QUARANTINED, kept=True),
                Summary(SPAM, spam.serial, kept=True),
            ],
        )
        self.store_listing(a_listing(SPAM, "1", confirmed=datetime(2026, 5, 5, tzinfo=UTC)))
        self.assertIs(self.have(self.catalog.upstream.summaries()), summaries)
        self.store_files(SPAM)
        self.assertEqual(
            [summary.name for summary in self.have(self.catalog.upstream.summaries())], [gone.name]
        )
        self.assertEqual(list(self.have(self.catalog.local.summaries())), [])

    def store_listing(self, listing: Listing) -> UpstreamEntry:
        """Store an upstream listing."""
        return self.have(
            self.catalog.upstream.edit(listing.name, lambda entry: evolve(entry, listing=listing))
        )

    def store_files(self, name: ProjectName, *versions: str) -> UpstreamEntry:
        """Store the list of cached files."""
        files = tuple(a_file(name, version) for version in versions)
        return self.have(self.catalog.upstream.edit(name, lambda entry: evolve(entry, kept=files)))

    def test_marks(self) -> None:
        """A mark stays until the project is changed without one; a new mark alone
        takes no serial.
        """
        self.assertIsNone(self.have(self.catalog.local.mark(SPAM)))
        held = self.put(a_project(SPAM, "1"), mark="one")
        self.assertEqual(self.have(self.catalog.local.mark(SPAM)), "one")
        self.assertEqual(self.put(held, mark="two"), held)
        self.assertEqual(self.have(self.catalog.local.mark(SPAM)), "two")
        self.assertEqual(self.have(self.catalog.serial()), held.serial)
        self.put(a_project(SPAM, "1", "2"))
        self.assertIsNone(self.have(self.catalog.local.mark(SPAM)))
        self.put(a_project(SPAM), mark="three")
        self.have(self.catalog.local.edit(SPAM, becomes(None)))
        self.assertIsNone(self.have(self.catalog.local.mark(SPAM)))

    def test_is_a_dict(self) -> None:
        """Edits in any order give the content that a dict would have."""
        run_model(lambda: CatalogModel(self), examples=25, steps=25)


names = st.sampled_from([project_name(text) for text in ("spam", "ham", "eggs", "eggs-2")])
versions = st.lists(st.sampled_from(("1.0", "1.1", "2.0")), unique=True).map(sorted)


class CatalogModel(stateful.RuleBasedStateMachine):
    """The catalog of a contract compared with a dict; backends add rules of their own."""

    def __init__(self, contract: CatalogContract) -> None:
        super().__init__()
        self.contract = contract
        contract.renew()
        self.held: dict[ProjectName, LocalProject] = {}
        self.serial = contract.have(contract.catalog.serial())

    @stateful.rule(name=names, versions=versions, status=st.sampled_from(Status))
    def put(self, name: ProjectName, versions: list[str], status: Status) -> None:
        project = a_project(name, *versions, status=status)
        old = self.held.get(name)
        if old is None or evolve(old, serial=0) != project:
            self.serial += 1
            self.held[name] = evolve(project, serial=self.serial)
        assert self.contract.put(project) == self.held[name]

    @stateful.rule(versions=st.dictionaries(names, versions))
    def put_all(self, versions: dict[ProjectName, list[str]]) -> None:
        wanted = {name: a_project(name, *its) if its else None for name, its in versions.items()}
        serial = self.serial + 1
        for name, project in wanted.items():
            old = self.held.get(name)
            if (old and evolve(old, serial=0)) == project:
                continue
            self.serial = serial
            if project is None:
                del self.held[name]
            else:
                self.held[name] = evolve(project, serial=serial)
        made = self.contract.have(
            self.contract.catalog.local.edit_all(
                {name: becomes(project) for name, project in wanted.items()}
            )
        )
        assert made == {name: self.held.get(name) for name in wanted}

    @stateful.rule(name=names)
    def remove(self, name: ProjectName) -> None:
        self.serial += self.held.pop(name, None) is not None
        assert self.contract.have(self.contract.catalog.local.edit(name, becomes(None))) is None

    @stateful.invariant()
    def same(self) -> None:
        catalog = self.contract.catalog
        assert self.contract.have(catalog.serial()) == self.serial
        expected = [
            Summary(name, project.serial, project.status)
            for name, project in sorted(self.held.items())
        ]
        assert list(self.contract.have(catalog.local.summaries())) == expected
        for name, project in self.held.items():
            assert self.contract.have(catalog.local.get(name)) == project
