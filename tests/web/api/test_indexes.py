"""Named indexes, made and changed over HTTP and by the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from pypid.access.tokens import new_token
from pypid.core.errors import PeopleUnknown
from pypid.core.permissions import Action, Scope
from pypid.flow import BytesBody
from pypid.web.app.app import Configured
from tests.distributions import wheel, wheel_filename
from tests.index.local.test_tiering import Shelves
from tests.web.app_with_accounts import Peopled
from tests.web.full_app import HOST, Answer, Fragile, J, Pypid, WholeCase, basic

BASE = f"http://{HOST}"
ALICE = {"read": "alice", "write": "alice"}


class IndexesCase(WholeCase):
    """A pypid that can have named indexes."""

    def setUp(self) -> None:
        super().setUp()
        self.pypid = Pypid(Path(self.mktemp()), indexes=())

    def create(self, name: str, user: str | None = "ada", **values: str) -> Answer:
        """The answer to a request for an index of this name."""
        return self.pypid.api("POST", "/api/indexes", {"name": name, "values": values}, user=user)

    def listed(self, user: str | None = None) -> list[str]:
        """The names of the indexes that the user is shown."""
        answer = self.pypid.get("/api/indexes", user=user)
        self.assertEqual(answer.status, 200)
        return [each["name"] for each in answer.json["indexes"]]

    def upload(self, index: str, name: str = "spam", user: str = "alice") -> Answer:
        """The answer to an upload to the index."""
        target = f"/{index}/legacy/"
        return self.publish(wheel_filename(name), wheel(name), target=target, user=user)


class StorageTests(IndexesCase):
    """Operations on the part of the storage that belongs to an index."""

    PART = ".pypid/index/team/"
    SPAM = f"spam/{wheel_filename()}"

    def setUp(self) -> None:
        super().setUp()
        self.shelves = Shelves(self.pypid.world.now)
        self.pypid = Pypid(
            Path(self.mktemp()),
            indexes=(),
            blobs=cast(Fragile, self.shelves),
            storage_folder=Path("/srv/storage"),
        )
        self.have_index("team", write="alice", read="alice")

    def drop(self, key: str) -> None:
        """Another program has put a wheel into the storage."""
        self.have(self.shelves.write(key, BytesBody(wheel())))

    def test_rebuild(self) -> None:
        """The files of the index are adopted there; those of the default index stay as they are."""
        self.drop(self.SPAM)
        for target in "/team/api/rebuild/spam", "/team/api/rebuild":
            self.drop(self.PART + self.SPAM)
            self.refused(self.pypid.api("POST", target, user="alice"), 403)
            answer = self.pypid.api("POST", target)
            [adopted] = answer.json["adopted"]
            self.assertEqual(adopted["outcome"], "adopted", adopted)
            self.assertEqual(self.pypid.get("/simple/spam/", user="ada").status, 404)
            self.assertEqual(self.pypid.get("/team/simple/spam/", user="alice").status, 200)
            self.have(self.shelves.delete(f"{self.PART}{self.SPAM}.record.json"))
            self.have(self.shelves.delete(self.PART + self.SPAM))
            self.pypid.api("POST", "/team/api/rebuild/spam")

    def test_import(self) -> None:
        """A folder is one in the part of the index, and all its files are local."""
        self.drop(f"{self.PART}old/{wheel_filename()}")
        target, part = "/team/api/adopt", f"/srv/storage/{self.PART}"
        outside = self.pypid.api("POST", target, {"folder": "/srv/storage/old"})
        self.refused(outside, 400, part.rstrip("/"), "Move the files there")
        document = {"folder": f"{part}old", "cached": ["spam"]}
        self.refused(self.pypid.api("POST", target, document), 400, "no cached files")
        answer = self.pypid.api("POST", target, {"folder": f"{part}old"})
        self.assertEqual([each["outcome"] for each in answer.json["adopted"]], ["adopted"])
        self.assertEqual(self.pypid.get("/team/simple/spam/", user="alice").status, 200)
        self.assertEqual(self.pypid.get("/simple/spam/", user="ada").status, 404)

    def test_tier(self) -> None:
        """Files of the index are moved, and a request for one has it restored."""

        async def bucket() -> Shelves:
            return self.shelves

        async def part() -> Any:
            return self.shelves.below(self.PART)

        index = self.pypid.app.indexes.get("team")
        assert index is not None
        self.published(self.upload("team"))
        self.published(self.publish(wheel_filename("eggs"), wheel("eggs")))
        self.patch(index, "bucket", part)
        self.patch(index.reader.restores, "bucket", part)
        self.patch(self.pypid.index, "bucket", bucket)
        self.pypid.clock.advance(10)
        document = {"older_than": "0d", "keep": 0, "class": "GLACIER"}
        answer = self.pypid.api("POST", "/team/api/tier", document)
        self.assertEqual(answer.json["outcomes"]["moved"], 1, answer.json)
        self.assertEqual(set(self.shelves.classes), {self.PART + self.SPAM})
        file = f"/team/packages/spam/{wheel_filename()}"
        self.assertEqual(self.pypid.get(file, user="alice").status, 503)
        self.assertEqual(self.shelves.asked, [self.PART + self.SPAM])


class IndexesTests(IndexesCase):
    """The JSON API."""

    def test_created_index_is_served_at_once(self) -> None:
        """The answer has the URLs of the index, and they work."""
        document = self.have_index("team-a", write="alice")
        self.assertEqual(document["index"], f"{BASE}/team-a/simple/")
        self.assertEqual(document["upload"], f"{BASE}/team-a/legacy/")
        self.assertEqual(document["values"], {"write": "alice"})
        self.assertEqual((document["by"], document["hides"]), ("ada", ""))
        self.published(self.upload("team-a"))
        self.assertEqual(self.pypid.get("/team-a/simple/spam/", J).status, 200)
        self.assertEqual(self.pypid.get("/simple/spam/", J).status, 404)

    def test_settings_are_for_tokens_that_administer(self) -> None:
        """A token of an administrator that may only read is not shown them."""
        secret, token = new_token(
            self.pypid.world.random,
            name="reader",
            user="ada",
            scope=Scope(frozenset({Action.READ})),
            now=self.pypid.world.now(),
        )
        self.pypid.papers.tokens[token.digest] = token
        self.have_index("team-a", write="alice")
        for login, is_shown in ((basic("ada"), True), (basic("__token__", secret), False)):
            document = self.pypid.get("/api/indexes/team-a", None, login).json
            self.assertEqual("values" in document, is_shown)

    def test_unreadable_index_is_not_there(self) -> None:
        """A list shows what the user may read; another index does not exist for the user, and is
        no base that is shown.
        """
        self.have_index("hidden", **ALICE)
        self.have_index("team", bases="hidden default")
        for user, names in ((None, ["team"]), ("bob", ["team"]), ("alice", ["hidden", "team"])):
            self.assertEqual(self.listed(user), names)
            path = "/api/indexes/hidden"
            status = self.pypid.get(path, user=user).status
            self.assertEqual(status, 200 if user == "alice" else 404)
            bases = self.pypid.get("/api/indexes/team", user=user).json["bases"]
            self.assertEqual("hidden" in bases, user == "alice")
        self.refused(self.pypid.get("/api/indexes/hidden"), 404, "no index")
        unknown = self.pypid.get("/api/indexes/unknown").text
        hidden = self.pypid.get("/api/indexes/hidden").text
        self.assertEqual(hidden.replace("hidden", ""), unknown.replace("unknown", ""))

    def test_missing_base(self) -> None:
        """The configuration may have had it. Administrators are told which one, and clients why
        nothing is served.
        """
        self.have_index("team")
        self.have_index("team-x", bases="team")
        indexes = self.pypid.indexes
        indexes.settings = {"team-x": indexes.settings["team-x"]}
        [warning] = self.pypid.get("/api/indexes/team-x", user="ada").json["warnings"]
        self.assertIn("there is no index 'team'", warning)
        answer = self.pypid.get("/team-x/simple/spam/", J)
        self.assertEqual(answer.status, 503, answer)
        self.assertIn("'team', which does not exist", answer.text)

    def test_while_rules_are_unknown(self) -> None:
        """Nothing is listed while the access rules are not known yet."""
        self.have_index("team")
        self.pypid.app.closed = PeopleUnknown("the accounts")
        for path in ("/api/indexes", "/api/indexes/team"):
            self.assertEqual(self.pypid.get(path).status, 503)

    def test_mistakes(self) -> None:
        """A wrong name, key, value or base is refused with the reason, and nothing is made."""
        self.have_index("team")
        for name, values, status, word in (
            ("Team", {}, 400, "lower-case"),
            ("simple", {}, 400, "reserved"),
            ("default", {}, 400, "reserved"),
            ("x", {"wirte": "alice"}, 400, "write"),
            ("x", {"write": "Everyone"}, 400, "everyone"),
            ("x", {"bases": "tem"}, 400, "team"),
            ("x", {"bases": "x"}, 400, "circle"),
            ("team", {}, 409, "taken"),
        ):
            answer = self.create(name, **values)
            self.refused(answer, status, word)
        answer = self.pypid.api("PATCH", "/api/indexes/team", {"values": {"bases": "team"}})
        self.refused(answer, 400, "circle")
        self.refused(self.pypid.api("PATCH", "/api/indexes/x", {"values": {}}), 404)
        self.assertEqual(self.listed(), ["team"])

    def test_too_many_bases(self) -> None:
        """An index whose bases have so many bases that its pages would take long is refused, and a
        change of a base that makes another index such a one.
        """
        for number in range(6):
            for side in "ab":
                bases = f"a{number - 1} b{number - 1}" if number else "default"
                self.have_index(f"{side}{number}", bases=bases)
        self.refused(self.create("top", bases="a5 b5"), 400, "'top'", "128 places")
        for name in ("x", "y"):
            self.have_index(name)
        change = {"values": {"bases": "x y default"}}
        self.refused(self.pypid.api("PATCH", "/api/indexes/a0", change), 400, "'a5'", "128 places")

    def test_deletion(self) -> None:
        """A base, and an index with files, stay; with force the files go, too."""
        self.have_index("team", write="alice")
        self.have_index("above", bases="team")
        self.published(self.upload("team"))
        path = "/api/indexes/team"
        self.refused(self.pypid.api("DELETE", path), 409, "above")
        self.assertEqual(self.pypid.api("DELETE", "/api/indexes/above").status, 200)
        self.refused(self.pypid.api("DELETE", path), 409, "--force")
        self.assertEqual(self.pypid.get("/team/simple/spam/", J).status, 200)
        self.refused(self.pypid.api("DELETE", f"{path}?forse"), 400, "force")
        self.assertEqual(self.pypid.api("DELETE", f"{path}?force").status, 200)
        self.assertEqual(self.pypid.get("/team/simple/spam/", J).status, 404)
        self.assertEqual([key for key in self.keys() if "/team/" in key], [])
        self.refused(self.pypid.api("DELETE", path), 404)

    def test_unknown_names(self) -> None:
        """Users and groups that do not exist are named, of the keys that the request sets; a
        directory may have a group. If it does not answer, the index is created, too.
        """
        configured = Configured(groups=frozenset({"data"}))
        people = Peopled(
            self.pypid, Path(self.mktemp()), configured=configured, sql=False, directory=True
        )
        self.assertEqual(self.have_index("team", write="group:data dora alice")["warnings"], [])
        self.assertEqual(
            self.have_index("wrong", write="group:dta", delete="allice")["warnings"],
            [
                "No user can log in as 'allice' now; did you mean 'alice'?",
                "There is no group 'dta' in the configuration or the database; did you mean "
                "'data'? Create it, unless a directory has it: pypid group create dta",
            ],
        )
        answer = self.pypid.api("PATCH", "/api/indexes/wrong", {"values": {"delete": "bbo"}})
        (warning,) = answer.json["warnings"]
        self.assertIn("'bbo'", warning)
        self.assertNotIn("warnings", self.pypid.api("GET", "/api/indexes/wrong").json)
        people.directory.away = True
        (warning,) = self.have_index("later", read="zoe")["warnings"]
        self.assertIn("were not checked", warning)

    def test_audit_entries_name_the_index(self) -> None:
        """Changes below an index, and of the index itself; others name none. Entries are found by
        the index.
        """
        Peopled(self.pypid, Path(self.mktemp()))
        self.have_index("team-a", volatile="yes", write="alice")
        self.have_index("team-b")
        self.published(self.upload("team-a"))
        self.published(self.upload("team-b", "eggs", user="ada"))
        self.have_wheel("ham")
        project = "/team-a/api/projects/spam"
        for method, path, body in (
            ("PUT", "/releases/1.0/yank", {"reason": "bad"}),
            ("PUT", "/status", {"status": "archived"}),
            ("PUT", "/status", {"status": "active"}),
            ("DELETE", "", None),
        ):
            answer = self.pypid.api(method, project + path, body)
            self.assertIn(answer.status, (200, 204), answer)
        entries = self.pypid.api("GET", "/api/audit?index=team-a").json["entries"]
        self.assertEqual(
            [entry["action"] for entry in reversed(entries)],
            [
                *("index create", "project publish", "project yank"),
                *("project set-status", "project set-status", "project delete"),
            ],
        )
        self.assertEqual({entry["index"] for entry in entries}, {"team-a"})
        found = {
            entry["subject"].partition("/")[0]: entry["index"]
            for entry in self.pypid.api("GET", "/api/audit?action=project%20publish").json[
                "entries"
            ]
        }
        self.assertEqual(found, {"spam": "team-a", "eggs": "team-b", "ham": None})
        page = self.pypid.get("/manage/audit?index=team-b", "text/html", user="ada")
        self.assertIn("eggs", page.text)
        self.assertNotIn("spam", page.text)
        for user, status in (("alice", 403), (None, 401)):
            self.assertEqual(self.pypid.get("/api/audit?index=team-a", user=user).status, status)

    def test_downloads_are_counted_below_their_index(self) -> None:
        """Also those of inherited files. Who may not read an index learns nothing of its downloads,
        whatever project of the same name there is.
        """
        people = Peopled(self.pypid, Path(self.mktemp()))
        self.have_index("secret", **ALICE)
        self.published(self.upload("secret"))
        self.have_wheel("spam", "2.0")
        self.have_wheel("eggs")
        for path, user in (
            (f"/secret/packages/spam/{wheel_filename('spam')}", "alice"),
            (f"/secret/packages/spam/{wheel_filename('spam')}", "alice"),
            (f"/secret/packages/eggs/{wheel_filename('eggs')}", "alice"),
            (f"/packages/spam/{wheel_filename('spam', '2.0')}", "bob"),
        ):
            self.assertEqual(self.pypid.get(path, user=user).status, 200)
        self.have(people.downloads.flush())
        for path, user, total in (
            ("/secret/api/projects/spam/downloads", "alice", 2),
            ("/secret/api/projects/eggs/downloads", "alice", 1),
            ("/api/projects/spam/downloads", "bob", 1),
            ("/api/projects/eggs/downloads", "bob", 0),
        ):
            self.assertEqual(self.pypid.get(path, user=user).json["total"], total, path)
        self.assertEqual(
            self.pypid.get("/secret/api/projects/eggs/downloads", user="bob").status, 403
        )
        shown = self.pypid.api("GET", "/api/downloads?project=eggs").json["downloads"]
        self.assertEqual(
            [(each["index"], each["project"], each["user"]) for each in shown],
            [("secret", "eggs", "alice")],
        )


class PageTests(IndexesCase):
    """The page of the administration."""

    def send(self, path: str = "", **fields: str) -> Answer:
        """The answer to the form."""
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        body = urlencode(fields).encode()
        target = f"/manage/indexes{path}"
        return self.pypid.ask("POST", target, kind, body=body, user="ada")

    def shown(self, path: str = "/team") -> str:
        """The text of a page."""
        answer = self.pypid.get(f"/manage/indexes{path}", "text/html", user="ada")
        self.assertEqual(answer.status, 200, answer.text)
        return answer.text

    def test_files_are_deleted_only_if_wished(self) -> None:
        """An index with files is deleted only with the box ticked."""
        self.have_index("team", write="alice")
        self.published(self.upload("team"))
        self.refused(self.send("/team", do="delete", confirm="team"), 409, "files")
        answer = self.send("/team", do="delete", confirm="team", files="yes")
        self.assertEqual(answer.status, 303)
        self.assertEqual(self.listed("ada"), [])

    def test_mistakes(self) -> None:
        """A mistake is shown above the form, which keeps what was typed, and marks the field."""
        answer = self.send(name="simple", write="alice")
        self.refused(answer, 400, "reserved", 'value="simple"', 'value="alice"')
        self.assertNotIn("aria-invalid", answer.text)
        self.refused(self.send("/none", write="alice"), 404, "no index")
        self.have_index("team", write="alice")
        for values in ({"cooldown": "soon"}, {"bases": "missing"}):
            answer = self.send("/team", write="bob", **values)
            [(key, text)] = values.items()
            marked = f'name="{key}" value="{text}" maxlength="4000" autocomplete="off" '
            marked += 'autocapitalize="off" spellcheck="false" aria-invalid="true"'
            self.refused(answer, 400, marked, 'name="write" value="bob"')
            self.assertEqual(answer.text.count("aria-invalid"), 1)
            self.assertEqual("<details open>" in answer.text, key == "cooldown")
        self.assertIn('name="write" value="alice"', self.shown())
