"""Kill pypid at each file-system call of each operation; after a restart all that was acknowledged
is in force.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable

from attrs import evolve, frozen
from twisted.trial.unittest import SynchronousTestCase

from tests.live.asking import Answered
from tests.live.gauntlet.indexes import Index, Page, index
from tests.live.gauntlet.shim import Action
from tests.live.gauntlet.tally import FULL, Tally, sampled
from tests.live.gauntlet.upstream import PREFIX, upstream_wheel
from tests.live.projects import wheel

Act = Callable[[Index, str], Answered | None]


@frozen
class Operation:
    """What is done to a project; `prepare` comes before, undisturbed."""

    name: str
    act: Act
    prepare: tuple[Act, ...] = ()
    upstream: bool = False
    """Whether the project is the upstream index's."""
    stepwise: bool = False
    """Whether it changes one file after the other: a kill may leave some of them done."""

    def may_leave(self, page: Page, before: Page, after: Page) -> bool:
        """Whether a project may look so after the operation was cut off."""
        if page in (before, after):
            return True
        return (
            self.stepwise
            and page.status == 200
            and set(after.files) <= set(page.files) <= set(before.files)
        )


def _publish(version: str, content: str = "") -> Act:
    files = {"content.txt": content.encode()} if content else {}
    return lambda index, project: index.publish(wheel(project, version, files=files))


def _file(project: str) -> str:
    return wheel(project, "1.0").filename


def _call(method: str, path: str, document: object = None) -> Act:
    """A call of the HTTP API; ``{p}`` is the project and ``{f}`` its file."""
    return lambda index, project: index.ask(
        method, path.format(p=project, f=_file(project)), document
    )


PUBLISH = _publish("1.0", "one")
YANK = _call("PUT", "/api/projects/{p}/releases/1.0/yank", {"reason": "broken"})
STATUS = "/api/projects/{p}/status"
QUARANTINE = _call("PUT", STATUS, {"status": "quarantined", "reason": "malware"})
FETCH = _call("GET", "/packages/{p}/{f}")
PAGE = _call("GET", "/simple/{p}/")

OPERATIONS = (
    Operation("first-publish", PUBLISH),
    Operation("publish", _publish("2.0"), (PUBLISH,)),
    Operation("overwrite", _publish("1.0", "other"), (PUBLISH,)),
    Operation("yank", YANK, (PUBLISH,)),
    Operation("unyank", _call("DELETE", "/api/projects/{p}/releases/1.0/yank"), (PUBLISH, YANK)),
    Operation(
        "delete-file", _call("DELETE", "/api/projects/{p}/files/{f}"), (PUBLISH, _publish("2.0"))
    ),
    Operation(
        "delete-project",
        _call("DELETE", "/api/projects/{p}"),
        (PUBLISH, _publish("2.0")),
        stepwise=True,
    ),
    Operation("quarantine", QUARANTINE, (PUBLISH,)),
    Operation("reactivate", _call("PUT", STATUS, {"status": "active"}), (PUBLISH, QUARANTINE)),
    Operation("cache", FETCH, (PAGE,), upstream=True),
    Operation("evict", _call("DELETE", "/api/cache/{p}"), (PAGE, FETCH), upstream=True),
)
MOST = 1
"""Kills of each operation in the short form."""
STEP = 10
"""Every so many calls of a start and of a stop there is a kill: each takes two starts."""


def alike(page: Page, project: str) -> Page:
    """The page without the project's name, and with a letter for each known file instead of its
    hash.
    """
    known = {
        digest: letter
        for letter, artifact in (
            ("a", wheel(project, "1.0", files={"content.txt": b"one"})),
            ("b", wheel(project, "1.0", files={"content.txt": b"other"})),
            ("c", wheel(project, "2.0", files={})),
            ("u", upstream_wheel(project)),
        )
        for digest in [_digest(artifact.data)]
    }
    escaped = re.sub("[-_.]+", "_", project)
    files = tuple(
        (name.replace(escaped, "p"), known.get(digest, digest), yanked)
        for name, digest, yanked in page.files
    )
    return evolve(page, files=files)


def _digest(data: bytes) -> str:
    from hashlib import sha256

    return sha256(data).hexdigest()


def prepared(index: Index, operation: Operation, project: str) -> str:
    """Do what comes before the operation; return the project."""
    for act in operation.prepare:
        answered(operation, act(index, project))
    return project


def answered(operation: Operation, answer: Answered | None) -> None:
    """Raise `AssertionError` unless the answer is a good one."""
    told = answer and (answer.status, answer.body)
    assert answer is not None and answer.status < 300, (operation.name, told)


def undisturbed(
    index: Index, operation: Operation, project: str, action: Action
) -> tuple[Page, Page, int]:
    """What clients see before and after the operation on a prepared project, and the number of
    calls at which the action could be taken.
    """
    before = alike(index.see(project)[0], project)
    index.shim.arm(action, nth=1 << 30)
    answer = operation.act(index, project)
    count = index.shim.count
    index.shim.disarm()
    answered(operation, answer)
    after, problems = index.see(project)
    assert not problems, problems
    return before, alike(after, project), count


class Kills:
    """The trials of one index; each has a project of its own."""

    def __init__(self, index: Index, tally: Tally) -> None:
        self.index = index
        self.tally = tally
        self.seen: dict[str, Page] = {}
        self._number = 0

    def project(self, operation: Operation) -> str:
        """A project that is prepared for the operation."""
        self._number += 1
        project = f"{PREFIX if operation.upstream else ''}{operation.name}-{self._number}"
        return prepared(self.index, operation, project)

    def kill_at(
        self, operation: Operation, nth: int, action: Action, before: Page, after: Page
    ) -> bool:
        """Kill it at call number `nth` of the operation and look after the restart; whether there
        were so many calls.
        """
        project = self.project(operation)
        shim = self.index.shim
        shim.arm(action, nth=nth)
        answer = operation.act(self.index, project)
        struck = shim.struck > 0
        if answer is None or struck:
            self.index.has_died()
        acknowledged = answer is not None and answer.status < 300
        call = shim.last
        shim.disarm()
        self.index.kill()
        self.index.start()
        page, problems = self.index.see(project)
        self.seen[project] = page
        now = alike(page, project)
        if not (now == after if acknowledged else operation.may_leave(now, before, after)):
            problems.append(
                f"acknowledged: {acknowledged}; before {before}, after {after}, now {now}"
            )
        self.tally.trial(
            f"{operation.name}, killed at {call} number {nth} ({action.name.lower()})", *problems
        )
        return struck

    def at_the_start(self, nth: int) -> bool:
        """Kill it at a call of its start, and start it again: nothing has changed. Whether there
        were so many calls.
        """
        self.index.kill()
        self.index.shim.arm(Action.KILL, nth=nth)
        self.index.start(wait=False)
        return self._ended(nth, "start")

    def at_the_end(self, nth: int) -> bool:
        """Kill it at a call of an orderly stop, which says that the catalog is up to date; nothing
        has changed afterwards.
        """
        self.index.publish(wheel(f"stopped-{nth}"))
        self.seen[f"stopped-{nth}"] = self.index.see(f"stopped-{nth}")[0]
        self.index.shim.arm(Action.KILL, nth=nth)
        self.index.running.process.send_signal(signal.SIGTERM)
        return self._ended(nth, "stop")

    def _ended(self, nth: int, what: str) -> bool:
        for _ in range(600):
            if self.index.has_died(0.05) or (
                "compared with the storage: " in self.index.running.output() and what == "start"
            ):
                break
        struck, call = self.index.shim.struck > 0, self.index.shim.last
        self.index.shim.disarm()
        self.index.kill()
        self.index.start()
        self.look(f"{what}, killed at {call} number {nth}", list(self.seen)[-10:])
        return struck

    def look(self, trial: str, projects: list[str]) -> None:
        """Count a trial: these projects are as they were seen last."""
        found = []
        for project in projects:
            page, problems = self.index.see(project)
            found += problems
            if page != self.seen[project]:
                found.append(f"{project} is {page} and was {self.seen[project]}")
        self.tally.trial(trial, *found)


def run(index: Index, tally: Tally) -> None:
    """All operations, the start and the stop."""
    kills = Kills(index, tally)
    for operation in OPERATIONS:
        project = kills.project(operation)
        before, after, count = undisturbed(index, operation, project, Action.KILL)
        kills.seen[project] = index.see(project)[0]
        for number in sampled(count, MOST):
            action = Action.KILL_HALF if number % 2 else Action.KILL
            kills.kill_at(operation, number, action, before, after)
    for trial in (kills.at_the_start, kills.at_the_end):
        for number in range(1, 400, STEP) if FULL else (9,):
            if not trial(number):
                break
    kills.look("all projects at the end", list(kills.seen))
    index.kill()
    index.start()
    kills.look("all projects after one more crash", list(kills.seen))


class KillTests(SynchronousTestCase):
    """A pypid under the shim."""

    def test_acknowledged_changes_survive_a_kill_at_any_file_system_call(self) -> None:
        """After a kill at a file-system call and a restart, acknowledged changes are in force and
        listed files download.
        """
        tally = Tally("kill at a file-system call")
        with index() as made:
            run(made, tally)
        tally.close()
