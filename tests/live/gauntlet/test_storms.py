"""Random operations of several clients, with kill -9 in the middle, checked against a model."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from attrs import evolve, field, frozen
from twisted.trial.unittest import SynchronousTestCase

from tests.live.asking import Answered
from tests.live.gauntlet.indexes import Index, Page, index
from tests.live.gauntlet.tally import FULL, Tally
from tests.live.projects import wheel

PROJECTS: Final = 12
CLIENTS: Final = 3
KILLS: Final = 100 if FULL else 4


@frozen
class Model:
    """A project as the clients know it."""

    files: dict[str, tuple[str, bool]] = field(factory=dict)
    """SHA-256 and yanked, by version."""
    quarantined: bool = False
    next: int = 1

    def page(self, project: str) -> Page:
        """What its page shows."""
        if not self.next > 1:
            return Page(404)
        if self.quarantined:
            return Page(200, "quarantined")
        files = (
            (wheel(project, version).filename, digest, yanked)
            for version, (digest, yanked) in self.files.items()
        )
        return Page(200, "active", tuple(sorted(files)))


Step = tuple[Model, Callable[[Index, str], Answered | None]]


def step(model: Model, project: str, chance: random.Random) -> Step:
    """A random operation: the model after it, and the call."""
    release = f"/api/projects/{project}/releases"
    choices = ["yank", "unyank", "status", "delete"] if model.files else []
    if not model.quarantined:
        choices.append("publish")
    match chance.choice(choices):
        case "publish":
            version = f"{model.next}.0"
            artifact = wheel(project, version)
            files = {**model.files, version: (sha256(artifact.data).hexdigest(), False)}
            return evolve(model, files=files, next=model.next + 1), lambda index, _: index.publish(
                artifact
            )
        case "status":
            status = "active" if model.quarantined else "quarantined"
            document = (
                {"status": status, "reason": "x"} if status != "active" else {"status": status}
            )
            changed = evolve(model, quarantined=not model.quarantined)
            return changed, lambda index, _: index.ask(
                "PUT", f"/api/projects/{project}/status", document
            )
        case "delete" if len(model.files) > 1:
            version = chance.choice(sorted(model.files))
            files = {other: kept for other, kept in model.files.items() if other != version}
            return evolve(model, files=files), lambda index, _: index.ask(
                "DELETE", f"{release}/{version}"
            )
        case what:
            version, yanked = chance.choice(sorted(model.files)), what == "yank"
            files = {**model.files, version: (model.files[version][0], yanked)}
            method, document = ("PUT", {"reason": "x"}) if yanked else ("DELETE", None)
            return evolve(model, files=files), lambda index, _: index.ask(
                method, f"{release}/{version}/yank", document
            )


class Storm:
    """Some projects, and the models that they may be in by now."""

    def __init__(self, index: Index, tally: Tally, seed: int) -> None:
        self.index = index
        self.tally = tally
        self.chance = random.Random(seed)
        self.models: dict[str, list[Model]] = {
            f"storm-{number}": [Model()] for number in range(PROJECTS)
        }
        self.answers = 0
        self.refused: list[str] = []
        self._over = threading.Event()

    def client(self, projects: list[str], seed: int) -> None:
        """Change these projects until the connection breaks or the storm is over."""
        chance = random.Random(seed)
        while not self._over.is_set():
            project = chance.choice(projects)
            (model,) = self.models[project]
            after, call = step(model, project, chance)
            self.models[project] = [model, after]
            answer = call(self.index, project)
            if answer is None:
                return
            self.answers += 1
            if answer.status < 300:
                self.models[project] = [after]
            else:
                self.refused.append(f"{project}: {answer.status} {answer.text[:200]}")
                return

    def kill_once(self, number: int) -> None:
        """Let the clients go, kill pypid, start it, and compare."""
        self._over.clear()
        names = list(self.models)
        clients = [
            threading.Thread(
                target=self.client, args=(names[first::CLIENTS], self.chance.random()), daemon=True
            )
            for first in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        wanted, deadline = self.answers + self.chance.randint(1, 20), time.monotonic() + 10
        while self.answers < wanted and not self.refused and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(self.chance.uniform(0, 0.02))
        self.index.running.process.kill()
        self._over.set()
        for client in clients:
            client.join(40)
        self.index.kill()
        self.index.start()
        found, self.refused = [f"refused: {each}" for each in self.refused], []
        for project in names:
            found += self.compare(project)
        self.tally.trial(f"kill number {number}", *found)

    def compare(self, project: str) -> list[str]:
        """Compare a project with its models and keep the one that fits; return what is wrong.

        A project that is wrong is left out from then on: it would be reported after each kill. The
        page of a quarantined project shows no files, so models that differ in its files only are
        told apart by reactivating it.
        """
        page, problems = self.index.see(project)
        models = self.models[project]
        fitting = [model for model in models if model.page(project) == page]
        if len(fitting) > 1 and page.marked == "quarantined":
            answer = self.index.ask("PUT", f"/api/projects/{project}/status", {"status": "active"})
            if answer is None or answer.status >= 300:
                problems.append(f"{project} cannot be reactivated: {answer and answer.text[:200]}")
            page, more = self.index.see(project)
            problems += more
            models = [evolve(model, quarantined=False) for model in fitting]
            fitting = [model for model in models if model.page(project) == page]
        if not fitting:
            allowed = [model.page(project) for model in models]
            problems.append(f"{project} is {page}, allowed are {allowed}")
            del self.models[project]
        else:
            self.models[project] = fitting[-1:]
        return problems


def run(index: Index, tally: Tally, seed: int) -> None:
    """As many kills as the form has."""
    storm = Storm(index, tally, seed)
    for number in range(1, KILLS + 1):
        storm.kill_once(number)
    assert storm.answers > KILLS, f"only {storm.answers} operations were acknowledged (seed {seed})"


class StormTests(SynchronousTestCase):
    """Several clients and kill -9."""

    def test_random_operations_and_kills_agree_with_the_model(self) -> None:
        """After each kill the projects are as their clients were told, and listed files
        download.
        """
        seed = int.from_bytes(os.urandom(4))
        tally = Tally(f"storms (seed {seed})")
        with index() as made:
            run(made, tally, seed)
        tally.close()
