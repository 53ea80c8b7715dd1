"""The pages of imported indexes, compared with the rules of devpi-server: any inheritance, any
whitelists, any projects.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.devpi import (
    MIRROR,
    Choices,
    DevpiExport,
    DevpiFile,
    DevpiIndex,
    plan_import,
    searched,
)
from pypid.core.errors import NoSuchProject
from pypid.core.packaging.names import project_name
from tests.index.named import NamedCase
from tests.index.nodes import Told

NAMES = ("a/one", "a/two", "a/three", "a/four")
PROJECTS = ("spam", "eggs")
PYPI = DevpiIndex(name="root/pypi", kind="mirror", mirror_url="https://pypi.org/simple/")


@st.composite
def exports(draw: st.DrawFn) -> dict[str, DevpiIndex]:
    """Return a mirror, and indexes with bases among it and the earlier ones."""
    found = {PYPI.name: PYPI}
    for number, name in enumerate(NAMES[: draw(st.integers(1, len(NAMES)))]):
        projects = draw(st.sets(st.sampled_from(PROJECTS)))
        found[name] = DevpiIndex(
            name=name,
            kind="stage",
            bases=tuple(draw(st.lists(st.sampled_from([*found]), unique=True, max_size=3))),
            mirror_whitelist=tuple(draw(st.sets(st.sampled_from((*PROJECTS, "*")), max_size=1))),
            inherits_whitelist=draw(st.booleans()),
            files=tuple(
                DevpiFile(path=(f"{project}-{number + 2}.0.tar.gz",), project=project)
                for project in sorted(projects)
            ),
        )
    return found


class DevpiModel:
    """What devpi-server shows (``op_sro_check_mirror_whitelist``)."""

    def __init__(self, indexes: dict[str, DevpiIndex]) -> None:
        self.indexes = indexes

    def has(self, index: DevpiIndex, project: str) -> bool:
        """Return whether the index has the project itself; the mirror has every one."""
        return index.kind == MIRROR or any(file.project == project for file in index.files)

    def shown(self, name: str, project: str) -> set[str]:
        """Return the indexes whose files the page lists."""
        index, found = self.indexes[name], set[str]()
        is_private = is_mixed = False
        whitelist: set[str] | None = None
        order = searched(index, self.indexes)
        for each in sorted(order, key=lambda each: each.kind == MIRROR):
            if each.kind == MIRROR:
                if is_private and not is_mixed:
                    continue
            else:
                own = set(each.mirror_whitelist)
                if whitelist is None:
                    whitelist = own
                elif index.inherits_whitelist:
                    whitelist = whitelist | own
                else:
                    whitelist = whitelist & own
                if whitelist & {"*", project}:
                    is_mixed = True
                elif self.has(each, project):
                    is_private = True
            if self.has(each, project):
                found.add(each.name)
        return found


class DevpiPageTests(NamedCase, SynchronousTestCase):
    @settings(
        max_examples=80,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
    )
    @given(exports())
    def test_pages_list_what_devpi_server_lists(self, indexes: dict[str, DevpiIndex]) -> None:
        """Except for upstream files of names that stay private: those are in no index."""
        plan = plan_import(DevpiExport((), tuple(indexes.values())), Choices())
        self.assertEqual(plan.problems, ())
        self.store, self.upstream = MemoryBlobs(self.world.now), Told(self.clock)
        self.indexes = self.started()
        names = {}
        for planned in plan.indexes:
            names[planned.origin] = planned.name
            self.create(planned.name, **planned.values)
            for file in planned.files:
                content = planned.origin.encode()
                self.publish(self.index(planned.name), file.filename, content)
        model = DevpiModel(indexes)
        private = set[str]()
        for planned in plan.indexes:
            mixed = {*planned.values.get("allow_mixed", "").split()}
            if "*" not in mixed:
                private |= {project_name(file.project) for file in planned.files} - mixed
        for origin in indexes:
            for project in PROJECTS:
                expected = model.shown(origin, project)
                if project in private:
                    expected -= {PYPI.name}
                self.assertEqual(
                    self.origins(names[origin], project, expected), expected, (origin, project)
                )
        self.assertEqual({*self.upstream.names_told} & {*private}, set())

    def origins(self, index: str, project: str, expected: set[str]) -> set[str]:
        """Return the indexes of devpi-server whose files the page lists."""
        if not expected:
            self.refused(self.index(index).project(project_name(project)), NoSuchProject)
            return set()
        files = self.files(self.index(index), project)
        return {
            PYPI.name if content == b"bytes of theirs" else content.decode()
            for content in files.values()
        }
