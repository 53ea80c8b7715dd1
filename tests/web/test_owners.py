"""Owners of projects (``[access] owners = uploader``): who first publishes a project owns it, so
that a right to publish is no right to change the projects of others.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve

from pypid.access.tokens import new_token
from pypid.core.accounts.rights import CLAIM_LASTS, Right, Whom
from pypid.core.configuration.choices import Owners
from pypid.core.errors import StorageDown
from pypid.core.packaging.names import project_name
from pypid.core.permissions import AUTHENTICATED, EVERYONE, Action, ProjectOwners, Rules, Scope
from tests.distributions import wheel, wheel_filename
from tests.web.api.test_users import PeopleCase
from tests.web.app_with_accounts import have
from tests.web.full_app import Answer, basic, content, form, spelled, text

SPAM = project_name("spam")
YANK = "/api/projects/spam/releases/1.0/yank"


class OwnersCase(PeopleCase):
    """A pypid of two teams: carol is of team a, dave of team b, erin of no team."""

    rules = Rules(write=AUTHENTICATED, ownership=Owners.UPLOADER)

    def setUp(self) -> None:
        super().setUp()
        for user in ("carol", "dave", "erin"):
            self.add(user)
        for team, user in (("a", "carol"), ("b", "dave")):
            self.pypid.api("POST", "/api/groups", {"name": team})
            self.pypid.api("PUT", f"/api/groups/{team}/members/{user}")

    def upload(self, user: str | None, version: str = "1.0", project: str = "spam") -> Answer:
        """The answer to an upload of a small wheel."""
        headers = () if user is None else (basic(user, "secret of some length"),)
        filename, data = wheel_filename(project, version), wheel(project, version)
        return self.publish(filename, data, user=None, headers=headers)

    def owner(self, project: str = "spam") -> Any:
        """The owner, as the API tells an administrator."""
        return self.pypid.api("GET", f"/api/projects/{project}/owner").json["owner"]


class FirstUploadTests(OwnersCase):
    """Who becomes an owner."""

    def test_two_teams(self) -> None:
        """Who publishes a new project owns it. Members of another team may read it, and neither add
        files, yank nor overwrite; the owner may all that, and administrators, too.
        """
        self.published(self.upload("carol"))
        self.assertEqual(self.owner()["user"], "carol")
        self.pypid.app.rules = evolve(self.pypid.app.rules, overwrite=AUTHENTICATED)
        self.assertEqual(self.by("dave", "GET", "/simple/spam/").status, 200)
        self.refused(self.upload("dave", "2.0"), 403, "dave")
        self.refused(self.upload("dave", "1.0"), 403, "dave")
        self.assertEqual(self.by("dave", "PUT", YANK, {"reason": ""}).status, 403)
        self.published(self.upload("carol", "2.0"))
        self.assertEqual(self.by("carol", "PUT", YANK, {"reason": ""}).status, 200)
        self.assertEqual(self.pypid.api("DELETE", YANK).status, 200)
        self.published(self.upload("dave", project="ham"))

    def test_nobody(self) -> None:
        """Anonymous clients own nothing; nor does who adds to a project that exists."""
        self.pypid.app.rules = evolve(self.pypid.app.rules, write=EVERYONE)
        self.people.defaults = self.pypid.app.rules
        self.published(self.upload(None))
        self.published(self.upload("carol", "2.0"))
        self.assertIsNone(self.owner())
        self.published(self.upload("dave", "3.0"))

    def test_token(self) -> None:
        """The user of a token becomes the owner."""
        scope = {"actions": ["publish"], "projects": ["spam"], "name": "ci"}
        secret = self.by("carol", "POST", "/api/tokens", scope).json["secret"]
        data = wheel("spam", "1.0")
        answer = self.publish(
            wheel_filename(), data, user=None, headers=(basic("__token__", secret),)
        )
        self.published(answer)
        self.assertEqual(self.owner()["user"], "carol")

    def test_at_once(self) -> None:
        """Of two users who first publish one project at once one owns it, and the other is
        refused; nothing of its file is left.
        """
        have(self.people.accounts.claim(("", SPAM), "ldap:dora"))  # by another node
        self.pypid.app.rules = evolve(self.pypid.app.rules, owners=ProjectOwners())
        self.refused(self.upload("carol"), 403)
        self.assertEqual(self.keys(), [])

    def test_published_meanwhile(self) -> None:
        """A project that another node's user has made while an upload was received is that user's:
        the upload is refused, although the rules of this node do not know the owner yet.
        """
        self.published(self.upload("dave"))
        have(self.people.accounts.set_owner(("", SPAM), None))
        other = self.people.other_node()
        have(other.current.open())
        have(other.set_owner(("", SPAM), "ldap:dora"))
        have(other.close())
        before = self.keys()
        self.refused(self.upload("carol", "1.1"), 403)
        self.assertEqual(self.keys(), before)

    def test_deleted_meanwhile(self) -> None:
        """A user who is deleted or disabled while their upload is received publishes nothing: the
        project that only they could use stays closed, and no new one is made.
        """
        self.published(self.upload("carol", project="secret"))
        self.pypid.api("PUT", "/api/projects/secret/rights/user/carol", {"right": "rw"})
        before, kind = self.keys(), ("Content-Type", "multipart/form-data; boundary=b")
        sending = []
        for user, project in (("carol", "secret"), ("carol", "spam"), ("dave", "eggs")):
            filename, data = wheel_filename(project, "2.0"), wheel(project, "2.0")
            body = form([text(":action", "file_upload"), content(filename, data)], "b")
            secret = basic(user, "secret of some length")
            request = spelled("POST", "/legacy/", kind, secret, body=body)
            connection = self.pypid.connect()
            connection.send(request[:-200])
            sending.append((connection, request[-200:]))
        self.assertEqual(self.pypid.api("DELETE", "/api/users/carol").status, 200)
        self.pypid.clock.advance(1)  # another account of the same name
        self.add("carol")
        disabled = self.pypid.api("PATCH", "/api/users/dave", {"status": "disabled"})
        self.assertEqual(disabled.status, 200)
        for connection, rest in sending:
            connection.send(rest)
            answer = connection.answer()
            assert answer is not None
            self.refused(answer, 401, "removed or disabled while the file was received")
        self.assertEqual(self.keys(), before)
        self.assertEqual(self.pypid.ask("GET", "/simple/secret/").status, 401)
        self.refused(self.upload("carol", "3.0", "secret"), 403)
        self.refused(self.upload("erin", "3.0", "secret"), 403)

    def test_unknown(self) -> None:
        """While it is unknown whether a project exists, nothing is published: a new project would
        get no owner, and one that exists might get a wrong one.
        """
        self.pypid.index.context.being_adopted.add(SPAM)
        self.refused(self.upload("carol"), 503)
        self.assertIsNone(self.owner())
        self.assertEqual(self.keys(), [])
        self.pypid.index.context.being_adopted.discard(SPAM)
        self.published(self.upload("carol"))
        self.assertEqual(self.owner()["user"], "carol")

    def test_adopted(self) -> None:
        """Files that are adopted or imported give their project no owner; nor does a later upload."""
        self.have_adopted_wheel()
        self.assertIsNone(self.owner())
        self.published(self.upload("carol", "2.0"))
        self.assertIsNone(self.owner())
        self.published(self.upload("dave", "3.0"))

    def test_set_before(self) -> None:
        """An owner whom an administrator sets keeps the name, however long nothing is published."""
        answer = self.pypid.api("PUT", "/api/projects/spam/owner", {"user": "dave"})
        self.assertEqual(answer.status, 200, answer)
        self.pypid.clock.advance(CLAIM_LASTS.total_seconds() * 2)
        self.refused(self.upload("carol"), 403)
        self.published(self.upload("dave"))
        self.assertEqual(self.owner()["user"], "dave")

    def test_old_claim_of_anonymous(self) -> None:
        """A claim that no file followed does not come into force by the file of an anonymous
        client.
        """
        have(self.people.accounts.claim(("", SPAM), "ldap:dora"))
        self.pypid.clock.advance(CLAIM_LASTS.total_seconds())
        self.people.defaults = evolve(self.people.defaults, write=EVERYONE)
        self.people._apply()
        self.published(self.upload(None))
        self.assertIsNone(self.owner())
        self.published(self.upload("carol", "2.0"))

    def test_failed(self) -> None:
        """A first upload that fails at its record keeps the name for its user for ten minutes."""

        def fails(key: str) -> StorageDown | None:
            return StorageDown("no space") if key.endswith(".json") and "spam" in key else None

        self.pypid.blobs.failing = fails
        self.assertEqual(self.upload("carol").status, 503)
        self.pypid.blobs.failing = lambda key: None
        self.refused(self.upload("dave"), 403)
        self.pypid.clock.advance(CLAIM_LASTS.total_seconds())
        self.published(self.upload("dave"))
        self.assertEqual(self.owner()["user"], "dave")
        self.refused(self.upload("carol", "2.0"), 403)

    def test_refused_early(self) -> None:
        """An upload that fails before its record owns nothing."""

        def fails(key: str) -> StorageDown | None:
            return StorageDown("no space") if key.endswith(".whl") else None

        self.pypid.blobs.failing = fails
        self.assertEqual(self.upload("carol").status, 503)
        self.assertIsNone(self.owner())

    def test_manage_rights(self) -> None:
        """The owner grants and removes rights of the project, and learns of no other user; a token
        for publishing may not, and who has a right to publish may not.
        """
        self.published(self.upload("carol"))
        one = "/api/projects/spam/rights/user/dave"
        self.assertEqual(self.by("dave", "PUT", one, {"right": "rw"}).status, 403)
        answer = self.by("carol", "PUT", one, {"right": "rw"})
        self.assertEqual(answer.status, 200, answer)
        self.published(self.upload("dave", "2.0"))
        self.assertEqual(self.by("dave", "GET", "/api/projects/spam/rights").status, 403)
        self.assertEqual(self.by("carol", "GET", "/api/projects/spam/owner").status, 200)
        self.assertEqual(self.by("dave", "GET", "/api/projects/spam/owner").status, 403)
        other = self.by("carol", "PUT", "/api/projects/spam/rights/user/missing", {"right": "r"})
        self.assertFalse([line for line in other.json["warnings"] if "log in" in line], other.json)
        every = self.by("carol", "PUT", "/api/projects/spam/rights/everyone", {"right": "r"})
        self.assertEqual(every.status, 400, every)
        given = {"user": "dave"}
        self.assertEqual(self.by("carol", "PUT", "/api/projects/spam/owner", given).status, 403)
        self.assertEqual(self.by("carol", "DELETE", one).status, 200)
        self.assertEqual(self.by("carol", "DELETE", f"{one[:-4]}missing").status, 200)
        self.refused(self.upload("dave", "3.0"), 403)
        done = self.people.done(what="right grant") + self.people.done(what="right revoke")
        self.assertIn(("carol", "right grant", "spam"), done)
        self.assertIn(("carol", "right revoke", "spam"), done)

    def test_hidden(self) -> None:
        """A user who may not read a project learns neither its owner nor that it exists."""
        self.published(self.upload("carol"))
        have(self.people.accounts.grant(Right(SPAM, Whom.GROUP, "a", write=True)))
        for path in ("owner", "rights", "access/carol"):
            hidden = self.by("dave", "GET", f"/api/projects/spam/{path}")
            missing = self.by("dave", "GET", f"/api/projects/none/{path}")
            self.assertEqual((hidden.status, missing.status), (403, 403))
            self.assertEqual(hidden.text.replace("spam", "none"), missing.text)

    def test_publisher(self) -> None:
        """A trusted publisher makes projects for the user of its rule, who may then publish, too;
        without a user the project has no owner.
        """
        for as_user, project in (("carol", "spam"), (None, "ham")):
            text, minted = new_token(
                self.pypid.world.random,
                name="ci",
                user="ci of acme/spam",
                scope=Scope(frozenset({Action.WRITE}), (project,)),
                now=self.pypid.world.now(),
                publisher=True,
            )
            have(self.people.accounts.add_token(evolve(minted, as_user=as_user)))
            login = (basic("__token__", text),)
            data = wheel(project, "1.0")
            self.published(
                self.publish(wheel_filename(project, "1.0"), data, user=None, headers=login)
            )
        self.assertEqual(self.owner()["user"], "carol")
        self.assertIsNone(self.owner("ham"))
        self.published(self.upload("carol", "2.0"))
        self.refused(self.upload("dave", "2.0"), 403)


class IndexOwnersCase(OwnersCase):
    """A pypid of two teams with the index staging."""

    named = True

    def setUp(self) -> None:
        super().setUp()
        self.pypid.indexes.clean = self.people.accounts.remove_owners
        self.have_index("staging")

    def upload_to(self, index: str, user: str, version: str = "1.0") -> Answer:
        """The answer to an upload of spam to a named index."""
        login = basic(user, "secret of some length")
        data, target = wheel("spam", version), f"/{index}/legacy/"
        return self.publish(
            wheel_filename("spam", version), data, target=target, user=None, headers=(login,)
        )

    def owners(self) -> dict[str, str]:
        """The names of the owners of spam by index."""
        owners = have(self.people.accounts.owners())
        return {index: owner.user for (index, _), owner in owners.items()}


class IndexOwnersTests(IndexOwnersCase):
    """Owners and publishing in named indexes."""

    def test_rights_in_effect(self) -> None:
        """The default for publishing does not apply to an owned project; its rights do."""
        self.published(self.upload("carol"))
        effective = self.pypid.api("GET", "/api/projects/spam/rights").json["effective"]
        self.assertEqual(effective, {"read": "everyone", "write": "carol"})
        page = self.pypid.get("/project/spam/-/rights", user="ada").text
        self.assertIn("<dt>Publish and change</dt><dd>user carol</dd>", page)
        self.assertIn("This is the owner in the default index.", page)
        self.pypid.api("PUT", "/api/projects/spam/rights/user/dave", {"right": "rw"})
        effective = self.pypid.api("GET", "/api/projects/spam/rights").json["effective"]
        self.assertEqual(effective, {"read": "carol dave", "write": "carol dave"})

    def test_each_index_has_owners_of_its_own(self) -> None:
        """Who first publishes a project in an index owns it there, and nowhere else."""
        self.published(self.upload_to("staging", "carol"))
        self.refused(self.upload_to("staging", "dave", "2.0"), 403)
        self.published(self.upload("dave"))
        self.refused(self.upload("carol", "2.0"), 403)
        self.assertEqual(self.owners(), {"staging": "carol", "": "dave"})
        answer = self.pypid.api("GET", "/staging/api/projects/spam/owner")
        self.assertEqual((answer.json["index"], answer.json["owner"]["user"]), ("staging", "carol"))

    def test_rights_of_another_owner(self) -> None:
        """Who owns a project in the default index alone changes no rights of it while another user
        owns it in a named index: they would apply there, too.
        """
        self.published(self.upload_to("staging", "carol"))
        self.published(self.upload("dave"))
        one = "/api/projects/spam/rights/user/dave"
        for method, document in (("PUT", {"right": "rw"}), ("PUT", {"right": "r"}), ("DELETE", {})):
            answer = self.by("dave", method, one, document)
            self.refused(answer, 400, "administrator")
            self.assertNotIn("carol", answer.text)
        self.refused(self.upload_to("staging", "dave", "2.0"), 403)
        self.assertEqual(self.by("erin", "GET", "/staging/simple/spam/").status, 200)
        self.assertEqual(self.pypid.api("PUT", one, {"right": "rw"}).status, 200)
        self.published(self.upload_to("staging", "dave", "2.0"))

    def test_rights_of_a_project_that_another_index_has(self) -> None:
        """Nor while the project has no owner there. The refusal does not name the index."""
        self.published(self.upload_to("staging", "dave"))
        have(self.people.accounts.set_owner(("staging", SPAM), None))
        self.published(self.upload("carol"))
        right = "/api/projects/spam/rights/user/carol"
        for method, wish in (("PUT", {"right": "rw"}), ("DELETE", {})):
            answer = self.by("carol", method, right, wish)
            self.refused(answer, 400, "administrator")
            self.assertNotIn("index", answer.text)
        self.published(self.upload_to("staging", "dave", "2.0"))
        self.assertEqual(self.pypid.api("PUT", right, {"right": "rw"}).status, 200)

    def test_owners_of_one_index(self) -> None:
        """`owners` of an index replaces that of [access], in both directions."""
        self.have_index("free", owners="none")
        self.published(self.upload_to("free", "carol"))
        self.published(self.upload_to("free", "dave", "2.0"))
        self.assertEqual(self.owners(), {})
        self.people.defaults = evolve(self.people.defaults, ownership=Owners.NONE)
        self.people._apply()
        self.have_index("strict", owners="uploader")
        self.published(self.upload_to("strict", "carol"))
        self.refused(self.upload_to("strict", "dave", "2.0"), 403)
        self.published(self.upload("dave"))
        self.assertEqual(self.owners(), {"strict": "carol"})

    def test_deleted_index(self) -> None:
        """The owners of a deleted index are removed: an index of the same name begins without."""
        self.published(self.upload_to("staging", "carol"))
        self.published(self.upload("carol"))
        self.assertEqual(self.pypid.api("DELETE", "/api/indexes/staging?force=yes").status, 200)
        self.assertEqual(self.owners(), {"": "carol"})
        self.have_index("staging")
        self.published(self.upload_to("staging", "dave"))

    def test_released_name(self) -> None:
        """The owner goes with the name: after the project was deleted it stays, and after the name
        was released the next user who publishes the project owns it.
        """
        self.published(self.upload("carol"))
        self.assertEqual(self.pypid.api("DELETE", "/api/projects/spam").status, 200)
        self.refused(self.upload("dave"), 403)
        self.assertEqual(self.pypid.api("DELETE", "/api/names/spam").status, 200)
        self.assertEqual(self.owners(), {})
        self.published(self.upload("dave", "2.0"))
        self.assertEqual(self.owners(), {"": "dave"})

    def test_wall(self) -> None:
        """A right on a project lets its users publish it in each index, except in one whose `write`
        excludes them; nor may its owner publish there.
        """
        self.have_index("release", write="group:a")
        self.published(self.upload_to("release", "carol"))
        have(self.people.accounts.grant(Right(SPAM, Whom.GROUP, "b", write=True)))
        self.published(self.upload("dave"))
        self.published(self.upload_to("staging", "dave"))
        self.refused(self.upload_to("release", "dave", "2.0"), 403, "dave")
        answer = self.pypid.api("PUT", "/release/api/projects/spam/owner", {"user": "dave"})
        self.assertEqual(answer.status, 200, answer)
        self.refused(self.upload_to("release", "dave", "2.0"), 403, "dave")
        yank = f"/release{YANK}"
        self.assertEqual(self.by("dave", "PUT", yank, {"reason": ""}).status, 403)
        explained = self.pypid.api("GET", "/release/api/projects/spam/access/dave").json
        reasons = {each["action"]: each["because"] for each in explained["actions"]}
        self.assertEqual(reasons["write"], "only group:a may publish in the index release")
        self.assertTrue(explained["owner_in_force"])


class UnknownOwnersTests(OwnersCase):
    """The accounts database is away."""

    durable = True

    def test_away(self) -> None:
        """Without the owners nothing is published: a new project would get none, and the owner of
        one that exists may have changed. Users of the configuration can log in nevertheless.
        """
        self.published(self.publish(wheel_filename("ham"), wheel("ham")))  # by alice
        before = self.keys()
        path = self.people.accounts.current.database.place.path  # type: ignore[union-attr]
        path.rename(path.with_suffix(".away"))
        have(self.people.accounts.current.poll())
        for name, version in (("spam", "1.0"), ("ham", "2.0")):
            answer = self.publish(wheel_filename(name, version), wheel(name, version))
            self.refused(answer, 503)
        self.assertEqual(self.keys(), before)
        path.with_suffix(".away").rename(path)
        have(self.people.accounts.current.poll())
        self.published(self.publish(wheel_filename(), wheel()))
        self.assertEqual(self.owner()["user"], "alice")
