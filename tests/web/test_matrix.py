"""Every route, method, identity and kind of project, out of the app's own route map; what each is
answered is written by hand.

A route that is added fails here until somebody has said to which class it belongs, and so who may
use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pypid.core.permissions import Action, Rules
from tests.web.full_app import Answer, Pypid, WholeCase
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
    Who,
    ask,
    crowded,
    elsewhere,
    file_of,
)
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
    "admin": dict.fromkeys(KINDS, "133333*333"),
}
INDEX_CLASSES: dict[str, dict[str, str]] = {
    "read": {"open": "..........", "closed": "13.......3"},
    "publish": {"open": "1333***3**", "closed": "1333***3**"},
    "collect": {"open": "1********3", "closed": "13*******3"},
    "admin": {"open": "133333*333", "closed": "133333*333"},
    "anybody": {"open": "**********", "closed": "**********"},
    "somebody": {"open": "1*********", "closed": "1*********"},
}

GET = ("GET", "HEAD")
PROJECT = "/api/projects/<project>"
SITE = "/project/<project>/-"
FILE, RELEASE = f"{PROJECT}/files/<filename>", f"{PROJECT}/releases/<version>"
RIGHTS = f"{PROJECT}/rights"
OLD = "/packages/<python>/<letter>/<project>/<filename>"
PACKAGE = "/api/package/<project>/<filename>"

ROUTES: dict[str, tuple[tuple[str, ...], ...]] = {
    # each: the rule, and its methods
    "read": (
        ("/simple/<project>/", *GET),
        ("/+simple/<project>/", *GET),
        ("/simple/+simple/<project>/", *GET),
        ("/legacy/+simple/<project>/", *GET),
        ("/local/<project>/", *GET),
        ("/local/<project>/<filename>", *GET),
        ("/packages/<project>/<filename>", *GET),
        ("/at/<moment>/simple/<project>/", *GET),
        ("/at/<moment>/packages/<project>/<filename>", *GET),
        (OLD, *GET),
        ("/integrity/<project>/<version>/<filename>/provenance", *GET),
        ("/api/trust/<project>/files/<filename>", *GET),
        ("/pypi/<project>/json", *GET),
        ("/pypi/<project>/<version>/json", *GET),
        (PROJECT, *GET),
        ("/pypi/<project>/", *GET),
        ("/simple/<project>/json", *GET),
        ("/<project>/", *GET),
        (PACKAGE, *GET),
        ("/project/<project>/", *GET),
        ("/project/<project>/<version>/", *GET),
        ("/project/<project>/-/versions", *GET),
        ("/project/<project>/-/contents/<filename>", *GET),
        ("/project/<project>/-/compare", *GET),
        (f"{FILE}/contents", *GET),
        (f"{PROJECT}/compare", *GET),
        (f"{PROJECT}/downloads", *GET),
        # and of the whole index
        ("/", *GET),
        ("/simple/", *GET, "OPTIONS"),
        ("/local/", *GET, "OPTIONS"),
        ("/at/<moment>/simple/", *GET, "OPTIONS"),
        ("/legacy/", *GET),
        ("/pypi/", *GET),
        ("/api/projects", *GET),
        ("/api/news", *GET),
        ("/api/search", *GET),
        ("/search", *GET),
        ("/rss/updates.xml", *GET),
        ("/rss/packages.xml", *GET),
        ("/rss/project/<project>/releases.xml", *GET),
        ("/api/package/", *GET),
        ("/packages/", *GET),
        ("/advisories", *GET),
        ("/advisories/<advisory>", *GET),
        ("/api/advisories", *GET),
        ("/api/advisories/check", "POST"),
        ("/osv/v1/query", "POST"),
        ("/osv/v1/querybatch", "POST"),
        ("/osv/v1/vulns/<advisory>", *GET),
    ),
    "point": (
        ("/project/<project>/-/why", *GET),
        ("/api/package/<project>/", *GET),
        ("/legacy/<project>/", *GET),
        ("/legacy/<project>/<version>/", *GET),
        ("/simple/<project>/", "OPTIONS"),
        ("/local/<project>/", "OPTIONS"),
        ("/local/<project>/<filename>", "OPTIONS"),
        ("/packages/<project>/<filename>", "OPTIONS"),
        ("/at/<moment>/simple/<project>/", "OPTIONS"),
        ("/at/<moment>/packages/<project>/<filename>", "OPTIONS"),
        ("/pypi/<project>/json", "OPTIONS"),
        ("/pypi/<project>/<version>/json", "OPTIONS"),
    ),
    "write": (
        (f"{FILE}/yank", "PUT", "DELETE"),
        (f"{RELEASE}/yank", "PUT", "DELETE"),
    ),
    "publish": (
        ("/", "POST"),
        ("/simple/", "POST"),
        ("/pypi/", "POST"),
        ("/legacy/", "POST"),
        ("/uploadpackage/", "POST"),
        (OLD, "PUT"),
        (PACKAGE, "POST"),
        ("/api/why/<project>", *GET),
        ("/api/why/<project>/<filename>", *GET),
        ("/upload", *GET, "POST"),
        (f"{SITE}/settings", *GET),
        (f"{SITE}/yank", "POST"),
        (f"{SITE}/unyank", "POST"),
        (f"{SITE}/promote", "POST"),
    ),
    "delete": (
        (PROJECT, "DELETE"),
        (FILE, "DELETE"),
        (RELEASE, "DELETE"),
        (PACKAGE, "DELETE"),
        (f"{SITE}/delete", "POST"),
    ),
    "collect": (("/requirements.txt", "POST"),),
    "admin": (
        (f"{PROJECT}/status", "PUT"),
        (f"{SITE}/status", "POST"),
        (f"{SITE}/release-name", "POST"),
        (f"{SITE}/owner", "POST"),
        ("/api/names/<project>", "DELETE"),
        ("/api/cache", *GET, "DELETE"),
        ("/api/cache/<project>", *GET, "DELETE"),
        ("/api/cache/<project>/<filename>", "DELETE"),
        ("/api/blocks", *GET, "POST"),
        ("/api/trust", *GET),
        ("/api/trust/<project>", "DELETE"),
        ("/api/trust/<project>/approvals", "POST"),
        ("/api/blocks/<block>", *GET, "DELETE"),
        ("/api/approvals", *GET, "POST"),
        ("/api/approvals/<approval>", "DELETE"),
        (f"{PROJECT}/approval", *GET),
        ("/manage/approvals", *GET, "POST"),
        ("/manage/approvals/delete", "POST"),
        ("/manage/approvals/<project>", *GET),
        ("/api/indexes", "POST"),
        ("/api/indexes/<index>", "PATCH", "DELETE"),
        ("/manage/indexes", *GET, "POST"),
        ("/manage/indexes/<name>", *GET),
        ("/manage/indexes/change", "POST"),
        ("/manage/indexes/delete", "POST"),
        ("/api/check", "POST"),
        ("/api/export", "POST"),
        ("/api/tier", "POST"),
        ("/api/rebuild", "POST"),
        ("/api/rebuild/<project>", "POST"),
        ("/api/adopt", "POST"),
        ("/api/adopt/survey", "POST"),
        ("/api/import", "POST"),
        ("/api/import/survey", "POST"),
        ("/api/users", *GET, "POST"),
        ("/api/users/<name>", *GET, "PATCH", "DELETE"),
        ("/api/groups", *GET, "POST"),
        ("/api/groups/<name>", *GET, "DELETE"),
        ("/api/groups/<name>/members/<user>", "PUT", "DELETE"),
        ("/api/rights", *GET),
        ("/api/rights/<glob>", *GET),
        ("/api/rights/<glob>/<kind>", "PUT", "DELETE"),
        ("/api/rights/<glob>/<kind>/<name>", "PUT", "DELETE"),
        (f"{PROJECT}/owner", *GET, "PUT", "DELETE"),
        (f"{PROJECT}/access/<user>", *GET),
        (RIGHTS, *GET),
        (f"{RIGHTS}/<kind>", "PUT", "DELETE"),
        (f"{RIGHTS}/<kind>/<name>", "PUT", "DELETE"),
        ("/api/invitations", *GET, "POST"),
        ("/api/invitations/<id>", "DELETE"),
        ("/api/audit", *GET),
        ("/manage/", *GET),
        ("/manage/why", *GET),
        ("/manage/upstream", *GET),
        ("/manage/upstream/purge", "POST"),
        ("/manage/storage", *GET),
        ("/manage/rebuild", "POST"),
        ("/manage/check", "POST"),
        ("/manage/blocks", *GET, "POST"),
        ("/manage/blocks/delete", "POST"),
        ("/manage/trust", *GET, "POST"),
        ("/manage/trust/reset", "POST"),
        ("/manage/configuration", *GET),
        ("/manage/log-level", "POST"),
        ("/manage/users", *GET, "POST"),
        ("/manage/users/<name>", *GET),
        ("/manage/users/<name>/change", "POST"),
        ("/manage/users/<name>/password", "POST"),
        ("/manage/users/<name>/remove", "POST"),
        ("/manage/invitations", "POST"),
        ("/manage/invitations/withdraw", "POST"),
        ("/manage/groups", *GET, "POST"),
        ("/manage/groups/<name>", *GET),
        ("/manage/groups/<name>/join", "POST"),
        ("/manage/groups/<name>/leave", "POST"),
        ("/manage/groups/<name>/remove", "POST"),
        ("/manage/rights", *GET),
        ("/manage/rights/<glob>", *GET, "POST"),
        ("/project/<project>/-/rights", *GET, "POST"),
        ("/project/<project>/-/rights/owner", "POST"),
        ("/manage/tokens", *GET),
        ("/manage/tokens/revoke", "POST"),
        ("/manage/audit", *GET),
        ("/metrics", *GET),
        ("/api/log-level", *GET, "PUT"),
        ("/api/status", *GET),
        ("/api/reload", "POST"),
        ("/api/configuration", *GET),
        ("/api/storage", *GET),
        ("/api/upstream", *GET),
        ("/api/downloads", *GET),
        ("/api/acl", *GET, "POST"),
        ("/admin/rebuild", "POST"),
        ("/admin/acl.json.gz", *GET),
        ("/admin/register", "POST"),
        ("/admin/pending_users", *GET),
        ("/admin/token/<name>", *GET),
        ("/admin/user", *GET),
        ("/admin/user/<name>", *GET, "PUT", "DELETE"),
        ("/admin/user/<name>/permissions", *GET),
        ("/admin/user/<name>/approve", "POST"),
        ("/admin/user/<name>/admin", "POST"),
        ("/admin/user/<name>/group/<group>", "PUT", "DELETE"),
        ("/admin/group", *GET),
        ("/admin/group/<name>", *GET, "PUT", "DELETE"),
        ("/admin/package/<project>", *GET),
        ("/admin/package/<project>/<kind>/<name>/<permission>", "PUT", "DELETE"),
    ),
    "anybody": (
        ("/api/user/<name>", "PUT"),
        ("/api/user/password", "PUT"),
        ("/acct/login", *GET, "POST", "PUT"),
        ("/acct/tokenRegister", "PUT"),
        ("/acct/logout", "POST"),
        ("/health", *GET),
        ("/ready", *GET),
        ("/api/me", *GET),
        ("/api/indexes", *GET),
        ("/api/indexes/<index>", *GET),
        ("/api/session", *GET, "POST", "DELETE"),
        ("/api/captcha", *GET),
        ("/api/openapi.json", *GET),
        ("/config/ca.pem", *GET),
        ("/config/<filename>", *GET),
        ("/api/register", "POST"),
        ("/_/oidc/audience", *GET),
        ("/_/oidc/mint-token", "POST"),
        ("/_/oidc/github/mint-token", "POST"),
        ("/.well-known/pytp", *GET),
        ("/_/ui/<digest>/<name>", *GET),
        ("/docs/", *GET),
        ("/docs/<path:page>", *GET),
        ("/account/login", *GET, "POST"),
        ("/account/logout", "POST"),
        ("/account/register", *GET, "POST"),
    ),
    "somebody": (
        ("/account/", *GET),
        ("/account/password", "POST"),
        ("/account/tokens", "POST"),
        ("/account/tokens/revoke", "POST"),
        ("/api/user/password", "POST"),
        ("/api/tokens", *GET, "POST"),
        ("/api/tokens/<id>", "DELETE"),
        ("/api/promotions", *GET),
        ("/api/indexes/<index>/promotions", *GET, "POST"),
        ("/api/users/<name>/password", "PUT"),
    ),
}
"""Every route there is, by hand. Those in which a project stands are asked for every kind of
project.
"""

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


@cache
def classes() -> dict[tuple[str, str], str]:
    """The class of each rule and method."""
    found: dict[tuple[str, str], str] = {}
    for name, members in ROUTES.items():
        for rule, *methods in members:
            for method in methods:
                assert (rule, method) not in found, (rule, method)
                found[rule, method] = name
    return found


def expected(rule: str, method: str, kind: str) -> str:
    """The row of letters for a route, out of the tables."""
    name = classes()[rule, method]
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
        """Every route of the map has a class, and every class routes that there are."""
        there = {(route.path, method) for route in ALL_ROUTES for method in route.methods}
        self.assertEqual(
            there - set(classes()), set(), "Say who may use these: put them into ROUTES."
        )
        self.assertEqual(set(classes()) - there, set(), "There are no such routes any more.")
        self.assertEqual(tuple(who.name for who in ANYBODY), COLUMNS)
        for table in (*PROJECT_CLASSES.values(), *INDEX_CLASSES.values()):
            self.assertEqual({len(row) for row in table.values()}, {len(COLUMNS)})

    def test_projects_are_called_so(self) -> None:
        """What stands in the address of a route that asks for a right on projects is called by
        names that the guard knows: a project under another name would be asked about by nobody.
        """
        for route in ALL_ROUTES:
            values = set(re.findall(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>", route.path))
            if isinstance(route.action, Action) and route.action is not Action.ADMIN:
                others = {
                    "filename",
                    "version",
                    "python",
                    "letter",
                    "moment",
                    "advisory",
                    "kind",
                    "name",
                }
                self.assertLessEqual(values, {"project", *others}, route.path)
            self.assertEqual("<project>" in route.path, "project" in values, route.path)

    def each(self) -> Iterator[tuple[str, str, str]]:
        """Rule, method and kind."""
        for rule, method in classes():
            for kind in KINDS if "<project>" in rule else ("open", "closed"):
                yield rule, method, kind

    def test_answers(self) -> None:
        """Everybody is answered what the tables say, by every route, for every kind of project."""
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
                if not fits(answer, letter):
                    wrong.append(
                        f"{method} {rule}, {kind}, {who.name}: {answer.status} and not {letter!r}"
                    )
                if method not in ("GET", "HEAD", "OPTIONS") and answer.status < 400:
                    del indexes[id(rules)]  # something may have changed
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))

    def test_hidden_is_as_unknown(self) -> None:
        """Where somebody lacks the default right to read, every route answers alike, to the byte,
        for a hidden project, one with rules, a claimed name, one of upstream's, and a name that
        nobody ever heard of; upstream hears none of them.
        """
        upstream = elsewhere()
        pypid = crowded(Path(self.mktemp()), upstream, CLOSED)
        for project in (PLAIN, OWN):
            self.published(
                self.publish(*file_of(project), user=None, headers=IS["ada"].headers, pypid=pypid)
            )
        names = (PLAIN, OWN, CLAIMED, THEIRS, LICENSED, UNKNOWN)
        upstream.heard.clear()
        for (rule, method), name in classes().items():
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
        for rule, method in classes():
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
