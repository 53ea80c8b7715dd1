"""Each route with each method and identity, as a kind of the gauntlet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pypid.core.permissions import Rules
from tests.live.gauntlet.tally import FULL, Tally
from tests.web.full_app import Answer, Pypid, WholeCase, basic
from tests.web.rights_cases import (
    ANYBODY,
    CLAIMED,
    IS,
    LICENSED,
    OWN,
    PLAIN,
    Who,
    ask,
    crowded,
    elsewhere,
    file_of,
    register,
)
from tests.web.route_rights import CLASSES
from tests.web.test_matrix import KINDS, expected, fits, target_of

METHODS: Final = (
    "GET",
    "HEAD",
    "OPTIONS",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "TRACE",
    "CONNECT",
    "PROPFIND",
)
SAFE: Final = ("GET", "HEAD", "OPTIONS", "TRACE", "CONNECT")
WRONG: Final = Who("wrong password", (basic("dan", "not dan's"),))
NO_TOKEN: Final = Who(
    "unknown token", (basic("__token__", "pypid-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),)
)
WHO: Final = tuple(IS[name] for name in ("anonymous", "rita", "wendy", "ada", "token to read"))
"""Anonymous, a reader, a writer, an administrator and a token."""
OUTSIDERS: Final = ("anonymous", "wrong password", "unknown token")
HIDDEN: Final = (OWN, CLAIMED, LICENSED)
BODIES: Final = (
    b"{}",
    None,
    b"",
    b"\xff\x00[[[",
    b"[]",
    json.dumps({"name": "x" * 9000, "projects": 7, "": None}).encode(),
)
"""What is sent with POST, PUT, PATCH and DELETE; the tables of the matrix hold for the first."""
REGISTRATION: Final = (
    "/api/user/<name>",
    "/api/user/password",
    "/acct/login",
    "/api/register",
)
"""Routes that refuse everybody while registration is closed."""
EVERY: Final = 1 if FULL else 41
"""The short form takes one in so many questions."""


class RequestTests(WholeCase):
    """A whole pypid in memory, with projects and people of every kind."""

    def setUp(self) -> None:
        """Make an index when one is needed."""
        self.pypids: dict[int, Pypid] = {}

    def index(self, rules: Rules) -> Pypid:
        """An index with these rules that no request has changed yet."""
        if id(rules) not in self.pypids:
            folder = Path(self.mktemp())
            pypid = crowded(folder, elsewhere(), rules)
            register(pypid, folder)
            for project in (PLAIN, OWN):
                pypid.app.rules = Rules()
                self.published(
                    self.publish(
                        *file_of(project), user=None, headers=IS["ada"].headers, pypid=pypid
                    )
                )
            pypid.app.rules = rules
            self.pypids[id(rules)] = pypid
        return self.pypids[id(rules)]

    def questions(self) -> Iterator[tuple[str, str, str, Who, bytes | None]]:
        """Rule, method, kind of project, identity and body."""
        rules = dict.fromkeys(rule for rule, _ in CLASSES)
        for rule in rules:
            for method in METHODS:
                for kind in KINDS if "<project>" in rule else ("open", "closed"):
                    for who in (*WHO, WRONG, NO_TOKEN):
                        for body in (None,) if method in SAFE else BODIES:
                            yield rule, method, kind, who, body

    def test_every_route_answers_every_method_and_identity_within_the_matrix(self) -> None:
        """No answer is a 500 or a traceback, names a hidden project to outsiders, or is not what
        the matrix says.
        """
        tally = Tally("routes x methods x identities")
        for number, (rule, method, kind, who, body) in enumerate(self.questions()):
            if number % EVERY:
                continue
            rules, project = KINDS[kind]
            pypid = self.index(rules)
            target = target_of(rule, project)
            try:
                answer = ask(pypid, method, target, *who.headers, body=body)
            except Exception as error:  # a trial that failed, whatever it was
                tally.trial(
                    f"{method} {rule}, {kind}, {who.name}, body {BODIES.index(body)}", repr(error)
                )
                self.pypids.clear()
                continue
            problems = self.problems(answer, rule, method, kind, who, body)
            problems += self.hidden(answer, target, who)
            tally.trial(
                f"{method} {rule}, {kind}, {who.name}, body {BODIES.index(body)}", *problems
            )
            if method not in ("GET", "HEAD", "OPTIONS") and answer.status < 400:
                del self.pypids[id(rules)]
        tally.close()

    @staticmethod
    def problems(
        answer: Answer, rule: str, method: str, kind: str, who: Who, body: bytes | None
    ) -> list[str]:
        """What is wrong with the answer's status and text."""
        text = answer.body.decode("latin-1")
        if "Traceback (most recent" in text or 'File "' in text:
            return ["a traceback"]
        if answer.status == 500:
            return [f"500 {text[:200]}"]
        if (rule, method) not in CLASSES:
            return (
                []
                if 400 <= answer.status < 500 or method == "OPTIONS"
                else [f"{answer.status} for a method that is not there"]
            )
        if who in (WRONG, NO_TOKEN):
            letter = expected(rule, method, kind)[0]
            allowed = (401, 403, 429) if letter == "1" else (*range(200, 500),)
            return [] if answer.status in allowed else [f"{answer.status} for a {who.name}"]
        letter = expected(rule, method, kind)[ANYBODY.index(who)]
        if body != b"{}" and method not in SAFE and letter in ".4":
            letter = "*"  # a body that cannot be read may be refused
        if rule in REGISTRATION and answer.status == 403:
            return []
        if kind == "theirs" and "exists in the upstream index" in text:
            return []  # an upload that is refused before its body is read
        return [] if fits(answer, letter) else [f"{answer.status} and not {letter!r}"]

    @staticmethod
    def hidden(answer: Answer, target: str, who: Who) -> list[str]:
        """The hidden projects that an outsider is told of and did not name."""
        if who.name not in OUTSIDERS:
            return []
        text = f"{answer.head} {answer.body.decode('latin-1')}"
        names = {spelling for name in HIDDEN for spelling in (name, name.replace("-", "_"))}
        return [
            f"names {name}"
            for name in names
            if name in text and name.replace("_", "-") not in target
        ]
