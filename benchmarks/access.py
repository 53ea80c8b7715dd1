"""What rights cost: pages for people who log in against pages for anybody, one decision, and a list
with holes in it.

``python benchmarks/access.py [--seconds 3] [--runs 5]``

Goals: a page with a password, or with a token, at least 0.8 times the rate of the same page
without; with 10,000 users, 1,000 groups and 10,000 rules a decision below 20 microseconds, and the
list of 10,000 projects filtered for a user below 50 ms.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import shutil
import statistics
import time
from collections.abc import Callable
from hashlib import sha256

import _rig as rig
from _wheels import build, upload
from pages import JSON, requests_a_second

USERS, GROUPS, RULES = 10_000, 1_000, 10_000


def best_of(times: int, call: Callable[[], object]) -> float:
    """The median of so many runs, in seconds."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def decisions() -> tuple[float, float, float]:
    """Seconds for one decision, for a list of 10,000 filtered, and for all rules put together, by
    the rules alone.
    """
    from pypid.core.accounts.rights import Right, Whom, grants_of
    from pypid.core.model import Summary
    from pypid.core.packaging.names import project_name
    from pypid.core.permissions import Action, Identity, Rules, may, visibility_of
    from pypid.web.app.visibility import seen

    chance = random.Random(5)
    users, groups = [f"user{i}" for i in range(USERS)], [f"group{i}" for i in range(GROUPS)]
    names = [project_name(f"project-{i}") for i in range(RULES)]
    rights = [
        Right(
            name,
            Whom.GROUP if i % 2 else Whom.USER,
            chance.choice(groups if i % 2 else users),
            i % 3 == 0,
        )
        for i, name in enumerate(names)
    ]
    made = best_of(3, lambda: Rules(projects=grants_of(rights)))
    rules = Rules(projects=grants_of(rights))
    people = [
        Identity(chance.choice(users), frozenset(chance.sample(groups, 20))) for _ in range(100)
    ]
    asked = [
        (chance.choice(people), chance.choice(list(Action)), chance.choice(names))
        for _ in range(10_000)
    ]

    def decide() -> None:
        for who, action, name in asked:
            may(rules, who, action, name)

    summaries = tuple(Summary(name, 1) for name in sorted(names))
    fresh = iter(people)
    return (
        best_of(5, decide) / len(asked),
        best_of(20, lambda: seen(summaries, visibility_of(rules, next(fresh)))),
        made,
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--runs", type=int, default=5)
    options = arguments.parse_args()
    rig.pin_client()
    one, filtered, made = decisions()
    rows: list[tuple[str, str, str]] = [
        ("one decision, 10,000 users, 1,000 groups, 10,000 rules", f"{one * 1e6:.1f} us", "20 us"),
        (
            "10,000 projects filtered for a user, nothing remembered",
            f"{filtered * 1e3:.0f} ms",
            "50 ms",
        ),
        (
            "10,000 rules put together after a change (off the reactor thread)",
            f"{made * 1e3:.0f} ms",
            "",
        ),
    ]
    figures: dict[str, object] = {
        "decision_us": one * 1e6,
        "list_ms": filtered * 1e3,
        "rules_ms": made * 1e3,
    }
    if shutil.which("wrk") is None:
        print("skipped: wrk is not installed")
    else:
        figures.update(pages(options.seconds, options.runs, rows))
    rig.report("What rights cost", rows, figures)


def pages(seconds: int, runs: int, rows: list[tuple[str, str, str]]) -> dict[str, float]:
    """The rate of a page by password and by token, as ratios to the same page without."""
    with rig.scratch() as folder, rig.Server(folder).running() as server:
        path = folder / "example-1.0-py3-none-any.whl"
        build(path, "example", "1.0", 0)
        upload(server, path, sha256(path.read_bytes()).hexdigest())
        body = json.dumps({"name": "bench", "actions": ["read"], "projects": ["*"]}).encode()
        head = {"Authorization": rig.LOGIN, "Content-Type": "application/json"}
        secret = json.loads(server.call("POST", "/api/tokens", head, body))["secret"]
        token = "Basic " + base64.b64encode(f"__token__:{secret}".encode()).decode()
        ways = {
            "nobody": {},
            "password": {"Authorization": rig.LOGIN},
            "token": {"Authorization": token},
        }
        counted: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(runs):
            for way, header in ways.items():
                asked = {"Accept": JSON, **header}
                counted[way].append(
                    requests_a_second(server.port, "/simple/example/", asked, seconds, 200)
                )
        ratios = {
            way: statistics.median(
                rate / plain for rate, plain in zip(counted[way], counted["nobody"], strict=True)
            )
            for way in ("password", "token")
        }
    for way, ratio in ratios.items():
        rows.append(
            (f"project page with a {way}, against the same without", f"{ratio:.2f} x", "0.8 x")
        )
    return ratios


if __name__ == "__main__":
    main()
