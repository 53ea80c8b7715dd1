"""Every route, method, identity and kind of project, out of the app's own route map; what each is
answered is written by hand (C90, C91 of docs/reference/conformance.rst).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pypid.core.permissions import Action, Rules
from tests.web.full_app import Answer, Pypid, WholeCase, basic
from tests.web.rights_cases import (
    ANYBODY,
    CLAIMED,
    CLOSED,
    IS,
    LICENSED,
    OPEN,
    OWN,
    PLAIN,
    THEIRS,
    UNKNOWN,
    USERS,
    Who,
    ask,
    crowded,
    elsewhere,
    file_of,
)
from tests.web.route_rights import BELOW, CLASSES, RIGHTS
from tests.web.routes import ALL_ROUTES

COLUMNS = (
    "anonymous",
    "bob",
    "rita",
    "carol",
    "wendy",
    "dan",
    "ada",
    "token to read",
    "other's token",
    "publisher",
)
"""The letters of each answer below: ``.`` served (2xx, 3xx), ``1`` 401, ``3`` 403, ``4`` 404, ``*``
let in, whatever comes.
"""

KINDS = {
    "open": (OPEN, PLAIN),
    "own rules": (OPEN, OWN),
    "claimed": (OPEN, CLAIMED),
    "unknown": (OPEN, UNKNOWN),
    "theirs": (OPEN, THEIRS),
    "theirs, own rules": (OPEN, LICENSED),
    "closed": (CLOSED, PLAIN),
    "closed, unknown": (CLOSED, UNKNOWN),
}
"""The index's rules, and a project there. `CLAIMED` and `UNKNOWN` have no files."""

PROJECT_CLASSES: dict[str, dict[str, str]] = {
    # who may see it
    "read": {
        "open": "..........",
        "own rules": "13......33",
        "claimed": "1344444433",
        "unknown": "4444444444",
        "theirs": "..........",
        "theirs, own rules": "13..33.333",
        "closed": "13......33",
        # whoever may read may have it fetched from upstream; nobody is told whether it is there who
        # may not
        "closed, unknown": "1344444433",
    },
    # who may look where: answered whether it is there or not
    "point": {
        "open": "..........",
        "own rules": "13......33",
        "claimed": "13......33",
        "unknown": "..........",
        "theirs": "..........",
        "theirs, own rules": "13..33.333",
        "closed": "13......33",
        "closed, unknown": "13......33",
    },
    # who may change what is published, and is published here
    "write": {
        "open": "1333...33.",
        "own rules": "1333...33.",
        "claimed": "1333444334",
        "unknown": "1333444334",
        "theirs": "1333444334",
        "theirs, own rules": "1333334334",
        "closed": "1333...33.",
        "closed, unknown": "1333444334",
    },
    # who may publish there, or ask why it is as it is
    "publish": {
        "open": "1333***33*",
        "own rules": "1333***33*",
        "claimed": "1333***33*",
        "unknown": "1333***33*",
        "theirs": "1333***33*",
        "theirs, own rules": "133333*33*",
        "closed": "1333***33*",
        "closed, unknown": "1333***33*",
    },
    "delete": {
        "open": "13333..333",
        "own rules": "13333..333",
        "claimed": "1333344333",
        "unknown": "1333344333",
        "theirs": "1333344333",
        "theirs, own rules": "1333334333",
        "closed": "13333..333",
        "closed, unknown": "1333344333",
    },
    "manage": dict.fromkeys(KINDS, "133333*333"),
    "admin": dict.fromkeys(KINDS, "133333*333"),
}
INDEX_CLASSES: dict[str, dict[str, str]] = {
    "read": {"open": "..........", "closed": "13.......3"},
    "publish": {"open": "1333***3**", "closed": "1333***3**"},
    "collect": {"open": "1********3", "closed": "13*******3"},
    "metrics": {"open": "133333*333", "closed": "133333*333"},
    "admin": {"open": "133333*333", "closed": "133333*333"},
    "anybody": {"open": "**********", "closed": "**********"},
    "somebody": {"open": "1*********", "closed": "1*********"},
}

GET = ("GET", "HEAD")
PROJECT = "/api/projects/<project>"
SITE = "/project/<project>/-"
FILE, RELEASE = f"{PROJECT}/files/<filename>", f"{PROJECT}/releases/<version>"
PACKAGE = "/api/package/<project>/<filename>"

OWN_ROWS: dict[tuple[str, str], dict[str, str]] = (
    {
        # below /local/ nothing is ever fetched: what is not stored is not there, and nobody is
        # refused for what may not be
        (rule, method): {
            "theirs": "**********",
            "theirs, own rules": "13**33*333",
            "closed, unknown": "1344444433",
        }
        for rule in ("/local/<project>/", "/local/<project>/<filename>")
        for method in GET
    }
    | {
        # nobody says which releases
        (f"{PROJECT}/compare", method): {
            kind: row.replace(".", "0") for kind, row in PROJECT_CLASSES["read"].items()
        }
        for method in GET
    }
    | {
        # none of these files has any, and none was there then
        (rule, method): {
            kind: row.replace(".", "4") for kind, row in PROJECT_CLASSES["read"].items()
        }
        for rule in (
            "/integrity/<project>/<version>/<filename>/provenance",
            "/at/<moment>/packages/<project>/<filename>",
        )
        for method in GET
    }
    | {
        # nobody counts downloads in this index: it has no accounts either
        (f"{PROJECT}/downloads", method): {
            kind: row.replace(".", "*") for kind, row in PROJECT_CLASSES["read"].items()
        }
        for method in GET
    }
    | {
        # it tells what there is, so that it takes the right to read, too: a publisher has that only
        # where everyone has it
        (rule, method): {
            "own rules": "1333...333",
            "claimed": "1333...333",
            "unknown": "1333...33.",
            "theirs": "1333...33.",
        }
        | {
            "closed": "1333...333",
            "closed, unknown": "1333...333",
            "theirs, own rules": "133333.333",
            "open": "1333...33.",
        }
        for rule in (
            "/api/why/<project>",
            "/api/why/<project>/<filename>",
        )
        for method in GET
    }
    | {
        # so does this; what is not published here, and not known upstream, has no settings
        (f"{SITE}/settings", method): {
            "open": "1333...33.",
            "own rules": "1333...333",
            "claimed": "1333444333",
            "unknown": "1333444334",
            "theirs": "1333444334",
            "theirs, own rules": "1333334333",
            "closed": "1333...333",
            "closed, unknown": "1333444333",
        }
        for method in GET
    }
    | {
        # a form that says nothing is a mistake, before it is looked whether there is anything to
        # delete
        (f"{SITE}/delete", "POST"): {
            kind: row.replace(".", "*").replace("4", "*")
            for kind, row in PROJECT_CLASSES["delete"].items()
        }
    }
    | {
        # pypicloud said 400 where there is nothing to delete; and who deletes there may publish
        # there
        (PACKAGE, "DELETE"): {
            "claimed": "13333**333",
            "unknown": "13333**333",
            "theirs": "13333**333",
            "theirs, own rules": "133333*333",
            "closed, unknown": "13333**333",
        }
    }
    | {
        # nothing is to be seen where uploads go
        ("/legacy/", "GET"): {"open": "**********", "closed": "13*******3"},
        ("/legacy/", "HEAD"): {"open": "**********", "closed": "13*******3"},
        # an empty query is a mistake, and this index has no advisories
        ("/api/advisories/check", "POST"): {"open": "**********", "closed": "13*******3"},
        ("/osv/v1/query", "POST"): {"open": "**********", "closed": "13*******3"},
        **{
            (rule, method): {"open": "4444444444", "closed": "1344444443"}
            for rule in ("/osv/v1/vulns/<advisory>", "/advisories/<advisory>")
            for method in GET
        },
        # tokens make no tokens
        ("/api/tokens", "POST"): dict.fromkeys(("open", "closed"), "1******333"),
        # nor do they change passwords
        ("/api/user/password", "POST"): dict.fromkeys(("open", "closed"), "1******333"),
        # the password in the address is bob's
        ("/api/users/<name>/password", "PUT"): dict.fromkeys(("open", "closed"), "1*3333*333"),
    }
)
"""What is not as the class has it, by rule and method."""


def expected(rule: str, method: str, kind: str) -> str:
    """The row of letters for a route, out of the tables."""
    name = CLASSES[rule, method]
    table = PROJECT_CLASSES if "<project>" in rule else INDEX_CLASSES
    return OWN_ROWS.get((rule, method), {}).get(kind) or table[name][kind]


def target_of(rule: str, project: str) -> str:
    """The path of a route, with all its values filled in."""
    values = {
        "project": project,
        "filename": file_of(project)[0],
        "version": "1.0",
        "python": "py3",
        "letter": project[0],
        "name": "bob",
        "user": "bob",
        "kind": "everyone",
        "glob": "acme-*",
        "group": "devs",
        "permission": "read",
        "id": "a" * 16,
        "moment": "2025-12-30",
        "index": "default",
        "block": "acme-00000000",
        "approval": "acme-00000000",
        "advisory": "GHSA-none",
        "digest": "0" * 16,
        "page": "guides/index.html",
    }
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda match: values[match[1]], rule)


def fits(answer: Answer, letter: str) -> bool:
    """Whether this answer is what the letter says."""
    match letter:
        case ".":
            return 200 <= answer.status < 400
        case "*":
            return answer.status not in (401, 403, 500)
        case _:
            return answer.status == 400 + int(letter)


def refuses_well(answer: Answer, who: Who) -> bool:
    """Whether a 401 asks for a password, a 403 does not, and neither is for a cache or a script."""
    if answer.status not in (401, 403):
        return True
    asks = 'Basic realm="pypi", charset="UTF-8"' if answer.status == 401 else None
    return (
        answer["www-authenticate"] == asks
        and answer["cache-control"] == "no-store"
        and answer["access-control-allow-origin"] is None
        and (who.name not in USERS or who.name in answer.text or not answer.body)
    )


class MatrixTests(WholeCase):
    """Everything that can be asked, by everybody."""

    def setUp(self) -> None:
        """Make an index when one is needed."""

    def index(self, rules: Rules) -> Pypid:
        """An index with all the projects."""
        pypid = crowded(Path(self.mktemp()), elsewhere(), rules)
        for project in (PLAIN, OWN):
            pypid.app.rules = Rules()  # whoever publishes does not matter here
            headers = IS["ada"].headers
            self.published(self.publish(*file_of(project), user=None, headers=headers, pypid=pypid))
        pypid.app.rules = rules
        return pypid

    def ask(self, pypid: Pypid, method: str, target: str, who: Who) -> Answer:
        """What they are answered."""
        body = b"{}" if method in ("PUT", "POST", "PATCH", "DELETE") else None
        return ask(pypid, method, target, *who.headers, body=body)

    def test_complete(self) -> None:
        """Every route of the map has a class, whose right it declares, and every class routes that
        there are; below a named index are the routes of the table, and no others (C90).
        """
        declared = {
            (route.path, method): (route.action, route.below_index)
            for route in ALL_ROUTES
            for method in route.methods
        }
        expected = {
            (rule, method): (RIGHTS[name], (rule, method.replace("HEAD", "GET")) in BELOW)
            for (rule, method), name in CLASSES.items()
        }
        self.assertEqual(declared, expected, "Say in tests.web.route_rights who may use these.")
        self.assertEqual(tuple(who.name for who in ANYBODY), COLUMNS)
        for table in (*PROJECT_CLASSES.values(), *INDEX_CLASSES.values()):
            self.assertEqual({len(row) for row in table.values()}, {len(COLUMNS)})

    def test_projects_are_called_so(self) -> None:
        """What stands in the address of a route that asks for a right on projects is called by
        names that the guard knows: a project under another name would be asked about by nobody.
        """
        others = {"filename", "version", "python", "letter", "moment", "advisory", "kind", "name"}
        for route in ALL_ROUTES:
            values = set(re.findall(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>", route.path))
            if isinstance(route.action, Action) and route.action is not Action.ADMIN:
                self.assertLessEqual(values, {"project", *others}, route.path)
            self.assertEqual("<project>" in route.path, "project" in values, route.path)

    def each(self) -> Iterator[tuple[str, str, str]]:
        """Rule, method and kind."""
        for rule, method in CLASSES:
            for kind in KINDS if "<project>" in rule else ("open", "closed"):
                yield rule, method, kind

    def test_answers(self) -> None:
        """Everybody is answered what the tables say, by every route, for every kind of project
        (C90, C91).
        """
        wrong = []
        indexes: dict[int, Pypid] = {}
        for rule, method, kind in self.each():
            rules, project = KINDS[kind]
            target = target_of(rule, project)
            for who, letter in zip(ANYBODY, expected(rule, method, kind), strict=True):
                if method == "HEAD" and who.name not in (
                    "anonymous",
                    "bob",
                    "ada",
                ):  # it is the route of GET
                    continue
                pypid = indexes.get(id(rules)) or indexes.setdefault(id(rules), self.index(rules))
                answer = self.ask(pypid, method, target, who)
                if not fits(answer, letter) or not refuses_well(answer, who):
                    wrong.append(
                        f"{method} {rule}, {kind}, {who.name}: {answer.status} and not {letter!r}"
                    )
                if method not in ("GET", "HEAD", "OPTIONS") and answer.status < 400:
                    del indexes[id(rules)]  # something may have changed
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))

    def test_wrong_password(self) -> None:
        """A wrong password is 401 on every route, open ones too (C91)."""
        pypid = self.index(OPEN)
        for rule, method in CLASSES:
            wrong = Who("ada", (basic("ada", "wrong"),))
            answer = self.ask(pypid, method, target_of(rule, PLAIN), wrong)
            self.assertEqual(answer.status, 401, (method, rule))
            pypid.clock.advance(901)  # who goes on guessing has to wait

    def test_hidden_is_as_unknown(self) -> None:
        """Where somebody lacks the default right to read, every route answers alike, to the byte,
        for a hidden project, one with rules, a claimed name, one of upstream's, and a name that
        nobody ever heard of; upstream hears none of them (C90).
        """
        upstream = elsewhere()
        pypid = crowded(Path(self.mktemp()), upstream, CLOSED)
        for project in (PLAIN, OWN):
            self.published(
                self.publish(*file_of(project), user=None, headers=IS["ada"].headers, pypid=pypid)
            )
        names = (PLAIN, OWN, CLAIMED, THEIRS, LICENSED, UNKNOWN)
        upstream.heard.clear()
        for (rule, method), name in CLASSES.items():
            if "<project>" not in rule:
                continue
            for who in ("anonymous", "bob", "other's token") + (
                () if name in ("write", "publish") else ("publisher",)
            ):
                answers = set()
                for project in names:
                    answer = self.ask(pypid, method, target_of(rule, project), IS[who])
                    self.assertEqual(
                        answer.status,
                        401 if who == "anonymous" else 403,
                        (method, rule, project, who),
                    )
                    answers.add(
                        (
                            answer.status,
                            answer.reason.replace(project, "x"),
                            *without(answer, project),
                        )
                    )
                self.assertEqual(len(answers), 1, (method, rule, who, answers))
        self.assertEqual(upstream.heard, [])

    def test_refused_alike(self) -> None:
        """So are names with rules under a default that lets everyone read: whether anything of them
        is published, and whose they are, nobody learns who may not.
        """
        pypid = self.index(OPEN)
        for rule, method in CLASSES:
            if "<project>" in rule and "api/why" not in rule:
                for who in ("anonymous", "bob", "other's token"):
                    answers = {
                        (answer.status, *without(answer, project))
                        for project in (OWN, CLAIMED, LICENSED)
                        for answer in [self.ask(pypid, method, target_of(rule, project), IS[who])]
                    }
                    self.assertEqual(len(answers), 1, (method, rule, who, answers))

    def test_blind(self) -> None:
        """Who may publish but not read (a publisher, a token to publish) is told of no file: not by
        a yank, nor its undoing.
        """
        pypid = self.index(OPEN)
        filename, _ = file_of(OWN)
        for rule, methods in (
            (f"{FILE}/yank", ("PUT", "DELETE")),
            (f"{RELEASE}/yank", ("PUT", "DELETE")),
        ):
            for method in methods:
                answer = self.ask(pypid, method, target_of(rule, OWN), IS["publisher"])
                self.assertEqual((answer.status, answer.json), (200, {"name": OWN}))
                seen = self.ask(pypid, method, target_of(rule, OWN), IS["wendy"])
                self.assertEqual(seen.json["changed"], [filename])


def without(answer: Answer, project: str) -> tuple[object, ...]:
    """The answer's head and body, where the name of the project stands for any."""
    head = tuple(
        (name, value.replace(project, "x")) for name, value in answer.head if name.lower() != "date"
    )
    return head, answer.body.replace(project.encode(), b"x")
