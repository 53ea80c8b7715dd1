"""Stages over HTTP: who may create, see, use, publish and delete them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from attrs import evolve

from pypid.core.errors import PeopleUnknown
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Grants, Principals, Rules
from tests.distributions import wheel, wheel_filename
from tests.web.app_with_accounts import Peopled
from tests.web.full_app import HOST, RULES, Answer, J, Pypid, WholeCase, basic

BASE = f"http://{HOST}"
PLACE, CREATED = "../account/stages", "?done=stage-created"
FORM = ("Content-Type", "application/x-www-form-urlencoded")
BOTH = Principals.parse("alice bob")


class StagesCase(WholeCase):
    """A pypid where alice and bob may publish."""

    rules = Rules(write=BOTH)

    def setUp(self) -> None:
        super().setUp()
        self.pypid = Pypid(Path(self.mktemp()), indexes=(), rules=self.rules)

    def create(self, user: str | None = "alice", **wish: str) -> Answer:
        """The answer to a request for a stage."""
        return self.pypid.api("POST", "/api/stages", wish, user=user)

    def have_stage(self, user: str = "alice", name: str = "x", **wish: str) -> str:
        """Create a stage; its name."""
        answer = self.create(user, name=name, **wish)
        self.assertEqual(answer.status, 201, answer)
        created: str = answer.json["name"]
        return created

    def upload(
        self, stage: str, project: str = "spam", version: str = "1.0", user: str = "alice"
    ) -> Answer:
        """The answer to an upload to the stage."""
        filename, content = wheel_filename(project, version), wheel(project, version)
        return self.publish(filename, content, target=f"/{stage}/legacy/", user=user)

    def have_file(self, stage: str, *project: str) -> None:
        """Upload a file to the stage."""
        self.published(self.upload(stage, *project))

    def publish_stage(self, stage: str, user: str | None = "alice") -> Answer:
        """The answer to the request to publish the stage."""
        return self.pypid.api("POST", f"/api/stages/{stage}/publish", user=user)

    def serial(self) -> int:
        """The serial of the catalog."""
        return self.have(self.pypid.app.index.catalog.serial())

    def show(self, stage: str, user: str | None = "alice") -> Answer:
        """The answer to the request for the stage."""
        return self.pypid.get(f"/api/stages/{stage}", user=user)

    def status_of(self, path: str, user: str | None = "alice") -> int:
        """The status of a page."""
        return self.pypid.get(path, J, user=user).status


class StagesTests(StagesCase):
    """The JSON API."""

    def test_stage_from_its_creation_to_its_publication(self) -> None:
        """What is staged shows in the stage only; then all of it in the base, with one serial."""
        answer = self.create()
        self.assertEqual(answer.status, 201, answer)
        stage: dict[str, Any] = answer.json
        name = stage["name"]
        self.assertRegex(name, r"^stage-[a-z2-9]{8}$")
        self.assertEqual(stage["index"], f"{BASE}/{name}/simple/")
        self.assertEqual(stage["upload"], f"{BASE}/{name}/legacy/")
        self.assertEqual(
            (stage["base"], stage["owner"], stage["state"]), ("default", "alice", "open")
        )
        for project in ("spam", "eggs"):
            self.have_file(name, project)
            self.assertEqual(self.status_of(f"/{name}/simple/{project}/"), 200)
            self.assertEqual(self.status_of(f"/simple/{project}/"), 404)
        before = self.serial()
        answer = self.publish_stage(name)
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(self.serial(), before + 1)
        self.assertEqual(sorted(answer.json["files"]), ["eggs", "spam"])
        self.assertEqual(answer.json["left"], [])
        for project in ("spam", "eggs"):
            self.assertEqual(self.status_of(f"/simple/{project}/"), 200)

    def test_publication_can_be_repeated(self) -> None:
        """A client that did not get the answer gets it again; nothing changes."""
        name = self.have_stage()
        self.have_file(name)
        first, serial = self.publish_stage(name), self.serial()
        again = self.publish_stage(name)
        self.assertEqual((first.status, again.status), (200, 200))
        self.assertEqual(first.json, again.json)
        self.assertEqual(self.serial(), serial)
        self.assertEqual(self.show(name).json["state"], "published")

    def test_administrator_changes_a_stage(self) -> None:
        """It stays a stage, and published."""
        name = self.have_stage()
        self.have_file(name)
        self.publish_stage(name)
        values = {"expires": "2026-01-20"}
        changed = self.pypid.api("PATCH", f"/api/indexes/{name}", {"values": values})
        self.assertEqual(changed.status, 200, changed)
        shown = self.show(name).json
        self.assertEqual((shown["state"], shown["owner"]), ("published", "alice"))
        self.assertEqual(shown["expires"], "2026-01-21T00:00:00Z")

    def test_administrator_extends_a_stage(self) -> None:
        """Not beyond the time for which a stage can be created; other keys can be changed then,
        too.
        """
        path = f"/api/indexes/{self.have_stage(expires='30d')}"
        for expires in ("2026-01-31T00:00:02Z", "2027-01-31", None):
            refused = self.pypid.api("PATCH", path, {"values": {"expires": expires}})
            self.assertEqual(refused.status, 400, refused.text)
            self.assertIn("at most 30d, this one until 2026-01-31T00:00:01Z", refused.text)
        for values in ({"expires": "2026-01-30"}, {"write": "alice bob"}):
            changed = self.pypid.api("PATCH", path, {"values": values})
            self.assertEqual(changed.status, 200, changed.text)
            self.assertEqual(changed.json["expires"], "2026-01-31T00:00:00Z")
            self.assertEqual(changed.json["by"], "alice")

    def test_stage_shows_its_base(self) -> None:
        """Projects that are not staged come from the base."""
        self.have_wheel("spam", "2.0")
        name = self.have_stage()
        page = self.pypid.get(f"/{name}/simple/spam/", J, user="alice").json
        self.assertEqual(
            [each["filename"] for each in page["files"]], [wheel_filename("spam", "2.0")]
        )

    def test_files_of_a_stage_can_be_replaced(self) -> None:
        """A stage is volatile: the last upload counts."""
        name = self.have_stage()
        filename = wheel_filename("spam")
        for more in (b"one", b"two"):
            content = wheel("spam", files={"spam/data.txt": more})
            self.published(self.publish(filename, content, target=f"/{name}/legacy/"))

    def test_only_its_creator_sees_a_stage(self) -> None:
        """For others, it is in no list, and its address answers as one that does not exist."""
        name = self.have_stage()
        self.have_file(name)
        for user in (None, "bob"):
            self.assertEqual(self.pypid.get("/api/stages", user=user).json, {"stages": []})
            self.assertEqual(self.pypid.get("/api/indexes", user=user).json, {"indexes": []})
            missing = self.show("stage-missing", user).text
            self.assertEqual(self.show(name, user).text, missing.replace("stage-missing", name))
            self.assertIn(self.status_of(f"/{name}/simple/", user), (401, 403))
            self.assertIn(self.status_of(f"/{name}/simple/spam/", user), (401, 403))
        for user, status in ((None, 401), ("bob", 404)):
            self.assertEqual(self.publish_stage(name, user).status, status)
            path = f"/api/stages/{name}"
            self.assertEqual(self.pypid.api("DELETE", path, user=user).status, status)
        for user in ("alice", "ada"):
            [listed] = self.pypid.get("/api/stages", user=user).json["stages"]
            self.assertEqual(listed["name"], name)
            self.assertEqual(
                self.show(name, user).json["files"], {"spam": [wheel_filename("spam")]}
            )
        self.assertEqual(self.upload(name, "more", user="bob").status, 403)

    def test_named_principals_may_use_a_stage(self) -> None:
        """Readers may install, writers may upload, publish and delete as well."""
        readable, writable = (
            self.have_stage(name="r", read="bob"),
            self.have_stage(name="w", write="bob"),
        )
        for name in (readable, writable):
            self.have_file(name)
            self.assertEqual(self.status_of(f"/{name}/simple/spam/", "bob"), 200)
            self.assertEqual(self.show(name, "bob").status, 200)
        self.refused(self.upload(readable, "more", user="bob"), 403)
        self.refused(self.publish_stage(readable, "bob"), 403, "stage")
        self.refused(self.pypid.api("DELETE", f"/api/stages/{readable}", user="bob"), 403)
        self.published(self.upload(writable, "more", user="bob"))
        self.assertEqual(self.publish_stage(writable, "bob").status, 200)
        self.assertEqual(
            self.pypid.api("DELETE", f"/api/stages/{writable}", user="bob").status, 200
        )

    def test_anonymous_clients_learn_no_names_of_users(self) -> None:
        """They see a stage that everyone may read, without the users and groups that may use it."""
        self.have_stage(read="everyone", write="bob group:data")
        rights = ("read", "write")
        found = self.show("stage-x", "bob").json
        self.assertEqual([found[key] for key in rights], ["everyone alice", "alice bob group:data"])
        for shown in (self.show("stage-x", None), self.pypid.get("/api/stages")):
            self.assertEqual(shown.status, 200)
            self.assertNotIn("bob", shown.text)
            self.assertNotIn("data", shown.text)

    def test_only_who_may_publish_creates_a_stage(self) -> None:
        """The base may be an index, and one that the user may not read does not exist."""
        self.pypid.app.rules = RULES
        values = {"read": "bob", "write": "bob"}
        document = {"name": "team", "values": values}
        self.assertEqual(self.pypid.api("POST", "/api/indexes", document).status, 201)
        self.assertEqual(self.create(None).status, 401)
        self.refused(self.create("bob"), 403)
        self.refused(self.create(base="team"), 404)
        self.refused(self.create(base="missing"), 404)
        name = self.have_stage("bob", base="team")
        self.published(self.upload(name, user="bob"))
        self.assertEqual(self.publish_stage(name, "bob").status, 200)
        self.assertEqual(self.status_of("/team/simple/spam/", "bob"), 200)
        self.assertEqual(self.status_of("/simple/spam/", "bob"), 404)

    def test_stage_gives_no_right_that_the_base_does_not_give(self) -> None:
        """Who may publish one project may not stage another one, and so not take its name."""
        spam = project_name("spam")
        grants = {spam: Grants(write=Principals.parse("bob"))}
        self.pypid.app.rules = Rules(write=Principals.parse("alice"), projects=grants)
        name = self.have_stage("bob")
        self.refused(self.upload(name, "eggs", user="bob"), 403)
        self.published(self.upload(name, "spam", user="bob"))

    def test_rights_on_each_project_are_checked_before_anything(self) -> None:
        """A right that was lost since the upload stops all of it."""
        name = self.have_stage()
        for project in ("aaa", "spam"):
            self.have_file(name, project)
        grants = {project_name("spam"): Grants(write=Principals.parse("bob"))}
        self.pypid.app.rules = Rules(write=BOTH, read=BOTH, projects=grants)
        before = self.serial()
        self.refused(self.publish_stage(name), 403, "spam")
        self.assertEqual(self.serial(), before)
        self.assertEqual(self.status_of("/simple/aaa/"), 404)
        self.assertEqual(self.show(name, "ada").json["state"], "open")

    def test_refused_publication_leaves_the_stage_open(self) -> None:
        """Other content under one name in the base stops all files; the stage takes files again."""
        name = self.have_stage()
        for project in ("aaa", "spam"):
            self.have_file(name, project)
        other = wheel("spam", files={"spam/data.txt": b"other"})
        self.published(self.publish(wheel_filename("spam"), other))
        self.refused(self.publish_stage(name), 409, "other content")
        self.assertEqual(self.status_of("/simple/aaa/"), 404)
        self.assertEqual(self.show(name).json["state"], "open")
        self.have_file(name, "more")

    def test_gates_of_the_base(self) -> None:
        """A closed gate stops the publication."""
        values = {"gates": "attested"}
        self.pypid.api("POST", "/api/indexes", {"name": "team", "values": values})
        name = self.have_stage(base="team")
        self.have_file(name)
        self.refused(self.publish_stage(name), 409, "attested")

    def test_nothing_is_uploaded_to_a_published_stage(self) -> None:
        """It would never be published."""
        name = self.have_stage()
        self.have_file(name)
        self.publish_stage(name)
        self.refused(self.upload(name, "more"), 409, "was published")
        self.assertEqual(self.status_of("/simple/more/"), 404)

    def test_no_promotion_into_a_closed_stage(self) -> None:
        """A stage that has expired, or was published, takes no promoted files either: it is
        removed, and with `move` the source has them no more.
        """
        self.published(self.publish(wheel_filename("ham"), wheel("ham"), target="/legacy/"))
        done, old = self.have_stage(name="done"), self.have_stage(name="old", expires="1h")
        self.have_file(done)
        self.assertEqual(self.publish_stage(done).status, 200)
        self.pypid.app.rules = evolve(self.rules, delete=BOTH)
        self.pypid.clock.advance(3601)
        wish = {"source": "default", "releases": ["ham==1.0"], "move": True}
        for stage, status in ((done, 409), (old, 410)):
            target = f"/api/indexes/{stage}/promotions"
            self.refused(self.pypid.api("POST", target, wish, user="alice"), status, stage)
        self.assertEqual(self.status_of("/simple/ham/"), 200)

    def test_expired_stage(self) -> None:
        """It answers 410, and cannot be published; it can still be deleted."""
        name = self.have_stage(expires="1h")
        self.have_file(name)
        self.pypid.clock.advance(3601)
        self.assertEqual(self.status_of(f"/{name}/simple/spam/"), 410)
        self.assertEqual(self.upload(name, "more").status, 410)
        self.refused(self.publish_stage(name), 410, "expired")
        self.assertEqual(self.show(name).json["state"], "expired")
        self.assertEqual(self.status_of("/simple/spam/"), 404)
        self.assertEqual(self.pypid.api("DELETE", f"/api/stages/{name}", user="alice").status, 200)
        self.assertEqual([key for key in self.keys() if name in key], [])

    def test_deleted_stage_leaves_nothing(self) -> None:
        """Its files, its document and the markers of its names are gone."""
        name = self.have_stage()
        self.have_file(name)
        self.assertEqual(self.pypid.api("DELETE", f"/api/stages/{name}", user="alice").status, 200)
        self.assertEqual([key for key in self.keys() if name in key], [])
        self.refused(self.show(name), 404)

    def test_mistakes(self) -> None:
        """What is wrong is said, and nothing is made."""
        self.have_stage(name="taken")
        for wish, status, word in (
            ({"name": "Big"}, 400, "lower-case"),
            ({"name": "stage-"}, 400, "needs a name"),
            ({"name": "taken"}, 409, "taken"),
            ({"name": "stage-taken"}, 409, "taken"),
            ({"base": "public"}, 404, "no index"),
            ({"base": "stage-taken"}, 400, "is a stage"),
            ({"expires": "soon"}, 400, "duration"),
            ({"expires": "31d"}, 400, "30d"),
            ({"expires": "1s"}, 400, "1m"),
            ({"write": "Everyone"}, 400, "write: 'Everyone'"),
        ):
            self.refused(self.create(**wish), status, word)
        self.refused(self.create(owner="bob"), 403)
        self.refused(self.publish_stage("stage-taken"), 400, "no files")
        self.assertEqual(self.show("stage-taken").json["state"], "open")
        self.assertEqual(len(self.pypid.get("/api/stages", user="ada").json["stages"]), 1)

    def test_limit(self) -> None:
        """A user has 20 stages at most; published ones do not count."""
        for number in range(20):
            self.have_stage(name=str(number))
        self.refused(self.create(), 400, "20 stages")
        self.have_stage("bob", "other")
        self.have_file("stage-0")
        self.publish_stage("stage-0")
        self.have_stage(name="more")

    def test_administrator_creates_a_stage_for_a_user(self) -> None:
        """The user may use it as the creator. A name that is no user's, and a user who may not
        publish in the base, get none.
        """
        Peopled(self.pypid, Path(self.mktemp()))
        name = self.have_stage("ada", owner="bob")
        self.published(self.upload(name, user="bob"))
        self.assertEqual(self.show(name, "bob").json["owner"], "bob")
        self.refused(self.create("ada", owner="bbo"), 400, "is it spelled right?")
        document = {"name": "locked", "values": {"write": "alice"}}
        self.pypid.api("POST", "/api/indexes", document, user="ada")
        answer = self.create("ada", owner="bob", base="locked")
        self.refused(answer, 403, "'bob' may not publish in the index 'locked'")

    def test_token_that_may_not_read(self) -> None:
        """It could not publish the stage, and is refused before it creates one."""
        people = Peopled(self.pypid, Path(self.mktemp()))
        self.assertIsNotNone(people)
        name, secrets = self.have_stage("ada"), []
        for actions in (["publish"], ["publish", "read"]):
            wish = {"name": "-".join(actions), "actions": actions}
            secrets.append(self.pypid.api("POST", "/api/tokens", wish, user="ada").json["secret"])
        for secret, statuses in zip(secrets, ((403, 403), (201, 400)), strict=True):
            token = basic("__token__", secret)
            made = self.pypid.ask("POST", "/api/stages", token, body=b"{}")
            published = self.pypid.ask("POST", f"/api/stages/{name}/publish", token)
            self.assertEqual((made.status, published.status), statuses)
            if made.status == 403:
                self.assertIn("create one with a scope", made.text)

    def test_base_stays(self) -> None:
        """The base of a stage decides who may publish."""
        name = self.have_stage()
        for bases in ("none", "default public", "public"):
            answer = self.pypid.api("PATCH", f"/api/indexes/{name}", {"values": {"bases": bases}})
            self.assertEqual(answer.status, 400, answer)
        extended = self.pypid.api("PATCH", f"/api/indexes/{name}", {"values": {"read": "bob"}})
        self.assertEqual(extended.status, 200, extended)

    def test_unknown_names(self) -> None:
        """An administrator learns which users and groups do not exist. Other users learn only of
        which groups they are no members.
        """
        Peopled(self.pypid, Path(self.mktemp()))
        wish = {"read": "bob zoe", "write": "group:dta"}
        zoe, group = self.create("ada", owner="bob", **wish).json["warnings"]
        self.assertIn("No user can log in as 'zoe'", zoe)
        self.assertIn("no group 'dta'", group)
        expected = "You are not in the group 'dta': is it spelled right?"
        self.assertEqual(self.create("bob", **wish).json["warnings"], [expected])
        body = urlencode({"base": "default", **wish}).encode()
        answer = self.pypid.ask("POST", "/account/stages", FORM, body=body, user="bob")
        self.assertEqual(answer.status, 200)
        self.assertIn("You are not in the group &#39;dta&#39;", answer.text)
        token = self.pypid.api(
            "POST", "/api/tokens", {"name": "ci", "actions": ["publish", "read"]}, user="ada"
        ).json["secret"]
        made = self.pypid.ask(
            "POST", "/api/stages", basic("__token__", token), body=json.dumps(wish).encode()
        )
        self.assertEqual(made.json["warnings"], [expected])

    def test_without_stages(self) -> None:
        """Where there are no named indexes, there is an empty list."""
        self.pypid = Pypid(Path(self.mktemp()))
        self.assertEqual(self.pypid.get("/api/stages", user="alice").json, {"stages": []})
        self.assertEqual(self.create().status, 501)

    def test_while_rules_are_unknown(self) -> None:
        """Nothing is listed or published."""
        name = self.have_stage()
        self.pypid.app.closed = PeopleUnknown("the accounts")
        for path in ("/api/stages", f"/api/stages/{name}"):
            self.assertEqual(self.pypid.get(path, user="alice").status, 503)
        self.assertEqual(self.publish_stage(name).status, 503)

    def test_audit_log(self) -> None:
        """Creation, publication and deletion are recorded; a repeated publication is not."""
        people = Peopled(self.pypid, Path(self.mktemp()))
        name = self.have_stage("ada")
        self.published(self.upload(name, user="ada"))
        done = self.publish_stage(name, "ada").json
        self.assertEqual(self.publish_stage(name, "ada").json, done)
        self.pypid.api("DELETE", f"/api/stages/{name}", user="ada")
        noted = [
            (each.what, each.index, each.subject, dict(each.details)) for each in people.deeds()
        ]
        self.assertEqual(
            [each for each in noted if each[0].endswith("-stage")],
            [
                ("create-stage", name, name, {"base": "default", "owner": "ada"}),
                (
                    "publish-stage",
                    "",
                    name,
                    {"base": "default", "promotion": done["promotion"], "projects": "spam"},
                ),
                ("delete-stage", name, name, {"base": "default", "objects": "3"}),
            ],
        )


class PageTests(StagesCase):
    """The page of a user's stages."""

    def send(self, path: str = "", user: str | None = "alice", **fields: str) -> Answer:
        """The answer to the form."""
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        body = urlencode(fields).encode()
        return self.pypid.ask("POST", f"/account/stages{path}", kind, body=body, user=user)

    def shown(self, user: str = "alice", path: str = "/stage-x", status: int = 200) -> str:
        """The text of a page."""
        answer = self.pypid.get(f"/account/stages{path}", "text/html", user=user)
        self.assertEqual(answer.status, status, answer.text)
        return answer.text

    def test_forms(self) -> None:
        """A stage is created, published and deleted, as by the API."""
        sent = self.send(base="default", expires="2d", name="x", read="bob")
        self.assertEqual((sent.status, sent["location"]), (303, f"{PLACE}/stage-x{CREATED}"))
        self.assertNotIn("Publish", self.shown())
        self.assertIn("../../stage-x/upload", self.shown())
        self.have_file("stage-x")
        for word in (f"{BASE}/stage-x/legacy/", "spam-1.0-py3", "alice bob", "Publish 1 file in"):
            self.assertIn(word, self.shown())
        self.assertIn("1 stage<", self.shown(path=""))
        self.assertEqual(self.send("/publish", name="stage-x").status, 303)
        self.assertEqual(self.status_of("/simple/spam/"), 200)
        self.assertNotIn("Publish 1 file", self.shown())
        self.assertIn("All its files are in default", self.shown())
        self.refused(self.send("/delete", name="stage-x", confirm="x"), 400, "Nothing")
        self.assertEqual(self.send("/delete", name="stage-x", confirm="stage-x").status, 303)
        self.assertIn("You have no stage", self.shown(path=""))

    def test_others(self) -> None:
        """A reader has no buttons; for all others there is no stage."""
        self.have_stage(read="bob")
        self.have_file("stage-x")
        self.have_stage(name="hidden")
        self.assertIn("stage-x", self.shown("bob", ""))
        self.assertNotIn("stage-hidden", self.shown("bob", ""))
        page = self.shown("bob")
        self.assertIn("spam-1.0-py3", page)
        for word in ("stage-x/legacy/", "Publish", "Delete stage", "All settings"):
            self.assertNotIn(word, page)
        self.assertIn("All settings", self.shown("ada"))
        self.assertIn("no stage", self.shown("bob", "/stage-hidden", 404))
        self.refused(self.send("/publish", "bob", name="stage-x"), 403, "creator")
        self.refused(self.send("/publish", "bob", name="stage-hidden"), 404, "no stage")

    def test_files_that_one_may_not_read(self) -> None:
        """The page lists the files that the user may read."""
        self.have_stage(read="bob")
        self.have_file("stage-x")
        self.have_file("stage-x", "acme")
        self.pypid.app.rules = evolve(
            self.pypid.app.rules, projects={project_name("acme"): Grants(read=Principals())}
        )
        page = self.shown("bob")
        self.assertIn("1 file of 1 project", page)
        self.assertNotIn("acme", page)

    def test_base_that_one_may_not_read(self) -> None:
        """Users who may read a stage, and not its base, do not learn the name of the base."""
        values = {"read": "alice", "write": "alice"}
        self.pypid.api("POST", "/api/indexes", {"name": "vault", "values": values})
        self.have_stage(base="vault", read="bob", write="bob")
        self.have_file("stage-x")
        for user, is_named in (("alice", True), ("bob", False)):
            pages = [self.shown(user), self.shown(user, ""), self.show("stage-x", user).text]
            pages += [self.pypid.get("/api/stages", user=user).text]
            pages += [self.pypid.get("/stage-x/", "text/html", user=user).text]
            for page in pages:
                self.assertEqual("vault" in page, is_named, page)
        self.assertEqual(self.show("stage-x", "bob").json["base"], "")

    def test_bases(self) -> None:
        """The form offers the indexes in which the user may publish; without one it says why it is
        not there.
        """
        for name, values in (
            ("team", {"write": "bob"}),
            ("vault", {"read": "alice", "write": "alice"}),
            ("ended", {"write": "bob", "expires": "2026-01-02"}),
        ):
            made = self.pypid.api("POST", "/api/indexes", {"name": name, "values": values})
            self.assertEqual(made.status, 201, made.text)
        self.pypid.clock.advance(3 * 86400)
        self.pypid.app.rules = evolve(self.rules, write=Principals())
        options = re.compile("<option(?: selected)?>([^<]*)<")
        self.assertEqual(options.findall(self.shown("bob", "")), ["team"])
        self.assertEqual(options.findall(self.shown("alice", "")), ["vault"])
        self.pypid.api("PATCH", "/api/indexes/team", {"values": {"write": "alice"}})
        page = self.shown("bob", "")
        self.assertIn("You may not publish in any index", page)
        self.assertNotIn("<select", page)
        for name in ("vault", "team"):
            self.assertNotIn(f"<option>{name}", page)

    def test_expired(self) -> None:
        """An expired stage shows no URLs, which do not work any more."""
        self.have_stage(expires="1h")
        self.have_file("stage-x")
        self.pypid.clock.advance(3601)
        page = self.shown()
        self.assertIn("Cannot be used any more", page)
        for word in ("/stage-x/simple/", "/stage-x/legacy/", "/stage-x/project/", "Publish"):
            self.assertNotIn(word, page)
        self.assertIn("expired", self.shown(path=""))

    def test_mistakes(self) -> None:
        """A mistake is shown above the form, which keeps what was typed, and marks the field."""
        self.refused(self.send(base="missing", name="one"), 404, "no index", 'value="one"')
        sent = self.send(base="default", name="one", expires="tomorrow", read="bob")
        self.refused(sent, 400, 'value="one"', 'value="bob"', 'value="tomorrow"')
        self.assertRegex(sent.text, 'name="expires" [^>]* aria-invalid="true"')
        self.assertEqual(sent.text.count("aria-invalid"), 1)
        self.have_stage()
        self.refused(self.send("/publish", name="stage-x"), 400, "no files")
