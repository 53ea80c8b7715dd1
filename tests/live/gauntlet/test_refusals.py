"""Have the system refuse calls: clients get an answer, what is acknowledged is durable, and
afterwards all works again.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.live.asking import Answered
from tests.live.gauntlet.indexes import STATE, STORAGE, TEMPORARY, Index, Page, index
from tests.live.gauntlet.shim import Action, Call
from tests.live.gauntlet.tally import FULL, Tally, sampled
from tests.live.gauntlet.test_kills import (
    FETCH,
    OPERATIONS,
    PAGE,
    QUARANTINE,
    YANK,
    Operation,
    alike,
    prepared,
    undisturbed,
)
from tests.live.projects import wheel

CALLS: Final = (
    Call.OPEN,
    Call.WRITE,
    Call.FSYNC,
    Call.RENAME,
    Call.UNLINK,
    Call.MKDIR,
    Call.LINK,
    Call.READ,
    Call.STAT,
)
ERRORS: Final = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EMFILE, errno.EROFS, errno.EDQUOT)
FOLDERS: Final = {"storage": STORAGE, "state": STATE, "temporary": TEMPORARY}
KNOWN: Final = "known"
MOST: Final = 2
"""Calls of each operation that are failed alone, in the short form."""
RECOVERS_WITHIN: Final = 10.0
"""Seconds after the last refusal."""


def combinations() -> Iterator[tuple[Call, int, str]]:
    """Each call, errno and folder; in the short form each call with one of the errnos in one of the
    folders.
    """
    if FULL:
        yield from (
            (call, error, folder) for folder in FOLDERS for call in CALLS for error in ERRORS
        )
    else:
        yield from zip(CALLS, cycle(ERRORS), cycle(FOLDERS), strict=False)


def problems_of(answer: Answered | None, what: str, *, may_break: bool = False) -> list[str]:
    """What is wrong with an answer while calls fail."""
    if answer is None:
        return [] if may_break else [f"{what}: no answer"]
    if answer.status == 500:
        return [f"{what}: 500 {answer.text[:200]}"]
    return [f"{what}: a traceback"] if "Traceback" in answer.body.decode("latin-1") else []


class Refusals:
    """The trials of one index."""

    def __init__(self, index: Index, tally: Tally) -> None:
        self.index = index
        self.tally = tally
        self.acknowledged: dict[str, Page] = {}
        """By project, what the clients were told to be so."""
        self._number = 0

    def name(self, prefix: str) -> str:
        """A new project's."""
        self._number += 1
        return f"{prefix}-{self._number}"

    def prepared(self, operation: Operation) -> str:
        """A project to do it to."""
        project = self.name(f"up-{operation.name}" if operation.upstream else operation.name)
        return prepared(self.index, operation, project)

    def all_calls(self, call: Call, error: int, folder: str) -> None:
        """Refuse every such call in the folder during one of each operation."""
        projects = {operation: self.prepared(operation) for operation in OPERATIONS}
        pages = {operation: self.index.see(project)[0] for operation, project in projects.items()}
        self.index.shim.arm(Action.FAIL, calls=(call,), folders=(FOLDERS[folder],), error=error)
        found = problems_of(self.index.ask("GET", "/health"), "/health")
        found += problems_of(PAGE(self.index, KNOWN), "a known page")
        found += problems_of(
            FETCH(self.index, KNOWN), "a known file", may_break=call in (Call.READ, Call.OPEN)
        )
        told = {}
        for operation, project in projects.items():
            answer = told[operation] = operation.act(self.index, project)
            found += problems_of(answer, operation.name, may_break=operation.upstream)
        self.index.shim.disarm()
        if self.index.has_died(0.01):
            found.append(f"pypid ended: {self.index.running.output()[-1000:]}")
            self.index.kill()
            self.index.start()
        found += self.recovered()
        for operation, project in projects.items():
            page, trouble = self.index.see(project)
            answer = told[operation]
            if answer is not None and 400 <= answer.status < 500 and page != pages[operation]:
                trouble.append(
                    f"{operation.name} was refused with {answer.status}, and {project} has changed"
                )
            found += trouble
            self.acknowledged[project] = page
        self.tally.trial(f"{call.name.lower()} {errno.errorcode[error]} in {folder}", *found)

    def one_call(
        self, operation: Operation, nth: int, error: int, before: Page, after: Page
    ) -> None:
        """Refuse call number `nth` of an operation."""
        project = self.prepared(operation)
        self.index.shim.arm(Action.FAIL, nth=nth, error=error)
        answer = operation.act(self.index, project)
        call = self.index.shim.last
        self.index.shim.disarm()
        found = problems_of(answer, operation.name, may_break=operation.upstream)
        acknowledged = answer is not None and answer.status < 300
        page, trouble = self.index.see(project)
        found += trouble
        now = alike(page, project)
        if not (now == after if acknowledged else operation.may_leave(now, before, after)):
            found.append(
                f"answered {answer and answer.status}; before {before}, after {after}, now {now}"
            )
        again = operation.act(self.index, project)
        found += problems_of(again, f"{operation.name} once more")
        self.acknowledged[project] = self.index.see(project)[0]
        self.tally.trial(f"{operation.name}: {call} number {nth} {errno.errorcode[error]}", *found)

    def recovered(self) -> list[str]:
        """What does not work again soon."""
        deadline = time.monotonic() + RECOVERS_WITHIN
        while True:
            project = self.name("again")
            answers = [
                self.index.publish(wheel(project)),
                YANK(self.index, project),
                FETCH(self.index, KNOWN),
            ]
            answers += [
                PAGE(self.index, f"up-{project}"),
                FETCH(self.index, f"up-{project}"),
                QUARANTINE(self.index, project),
            ]
            bad = [answer for answer in answers if answer is None or answer.status >= 300]
            if not bad:
                return []
            if time.monotonic() > deadline:
                return [
                    (
                        "does not work again: "
                        f"{[answer and (answer.status, answer.body[:200]) for answer in answers]}"
                    )
                ]
            time.sleep(0.2)

    def after_a_crash(self, what: str) -> None:
        """Kill pypid: all is as it was."""
        self.index.kill()
        self.index.start()
        found = []
        for project, page in self.acknowledged.items():
            now, trouble = self.index.see(project)
            found += trouble
            if now != page:
                found.append(f"{project} is {now} and was {page}")
        self.tally.trial(f"a crash after {what}", *found)


def run(index: Index, tally: Tally) -> None:
    """All combinations, and single calls."""
    refusals = Refusals(index, tally)
    answer = index.publish(wheel(KNOWN))
    assert answer is not None and answer.status == 200
    for call, error, folder in combinations():
        try:
            refusals.all_calls(call, error, folder)
        except AssertionError as failed:  # the others are tried all the same
            index.shim.disarm()
            tally.trial(
                f"{call.name.lower()} {errno.errorcode[error]} in {folder}",
                f"cannot be tried: {failed}",
            )
        if FULL and error == ERRORS[-1]:
            refusals.after_a_crash(f"{call.name.lower()} in {folder}")
    errors = cycle(ERRORS)
    for operation in OPERATIONS:
        project = refusals.prepared(operation)
        before, after, count = undisturbed(index, operation, project, Action.FAIL)
        for number in sampled(count, MOST):
            refusals.one_call(operation, number, next(errors), before, after)
    refusals.after_a_crash("single refusals")


class RefusalTests(SynchronousTestCase):
    """A pypid under the shim."""

    def test_refused_system_calls_leave_clients_with_an_answer(self) -> None:
        """While calls fail no answer is a 500 or a traceback; what is acknowledged is durable;
        afterwards all works again.
        """
        tally = Tally("failing system calls")
        with index() as made:
            run(made, tally)
        tally.close()
