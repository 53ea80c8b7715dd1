"""The settings of a project: what of it is shown to whom, and the forms that change it."""

from __future__ import annotations

from html import unescape
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlencode

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from pypid.access.tokens import new_token
from pypid.core.accounts.registration import AccountSettings
from pypid.core.model import Project, in_order
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.permissions import AUTHENTICATED, Action, Principals, Rules, Scope
from pypid.testing.worlds import BEGINNING
from pypid.web.ui.settings import LINES, listing
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.web.app_with_registration import OURS, Registering, cookie_of, now
from tests.web.full_app import PASSWORDS, Answer, J, basic, form

FORM = ("Content-Type", "application/x-www-form-urlencoded")
AS_PAGE = ("Accept", "text/html")
RULES = Rules(
    write=Principals(users=frozenset({"alice"})),
    delete=Principals(users=frozenset({"alice"})),
    delete_needs=Action.READ,
)
NASTY = "<script>alert('x')</script>\"><b onmouseover=alert(1)>"
Header = tuple[str, str]


class SettingsCase(SynchronousTestCase):
    """A project with two files of 1.0 and one of 2.0; alice may publish and delete, bob may read,
    ada is an administrator.
    """

    rules = RULES

    def setUp(self) -> None:
        """Publish them, and have all three log in."""
        self.pypid = Registering(Path(self.mktemp()), AccountSettings(), rules=self.rules)
        self.wheel, self.sdist, self.newer = (
            wheel_filename(),
            sdist_filename(),
            wheel_filename("spam", "2.0"),
        )
        files = ((self.wheel, wheel()), (self.sdist, sdist()), (self.newer, wheel("spam", "2.0")))
        for name, data in files:
            published = self.pypid.ask(
                "POST",
                "/upload",
                ("Content-Type", "multipart/form-data; boundary=x"),
                body=form([(f'name="file"; filename="{name}"', data)], "x"),
                user="ada",
            )
            self.assertEqual(published.status, 200)
        self.known: dict[str, tuple[Header, str]] = {}

    def log_in(self, user: str) -> tuple[Header, str]:
        """The cookie of a new session, and its token against CSRF."""
        answer = self.pypid.say("POST", "/api/session", {"user": user, "password": PASSWORDS[user]})
        return cookie_of(answer), answer.json["csrf_token"]

    def browser(self, user: str) -> tuple[Header, str]:
        """The cookie and the token of the session that they have."""
        return self.known.get(user) or self.known.setdefault(user, self.log_in(user))

    def look(self, user: str | None = "alice", query: str = "", project: str = "spam") -> Answer:
        """The page, as their browser gets it."""
        cookies = () if user is None else (self.browser(user)[0],)
        return self.pypid.ask("GET", f"/project/{project}/-/settings{query}", AS_PAGE, *cookies)

    def send(self, deed: str, user: str = "alice", of: str = "spam", **fields: str) -> Answer:
        """The answer to a form of the page, as their browser sends it."""
        cookie, token = self.browser(user)
        return self.forged(deed, {"csrf_token": token, **fields}, cookie, OURS, of=of)

    def forged(
        self,
        deed: str,
        fields: dict[str, str],
        *headers: Header,
        of: str = "spam",
        user: str | None = None,
    ) -> Answer:
        """The answer to any form."""
        body = urlencode(fields).encode()
        return self.pypid.ask(
            "POST", f"/project/{of}/-/{deed}", FORM, AS_PAGE, *headers, body=body, user=user
        )

    def done(self, answer: Answer, where: str) -> None:
        """The deed was done, and the browser is led there."""
        self.assertEqual(
            (answer.status, answer["location"]), (303, f"../../../{where}"), answer.text
        )

    def shown(self, answer: Answer, *words: str) -> None:
        """The form is shown again, with what is wrong."""
        self.assertEqual(answer.status, 400, answer)
        problem = unescape(answer.text.partition('role="alert"')[2].partition("</div>")[0])
        for word in words:
            self.assertIn(word, problem)

    def files(self, project: str = "spam") -> dict[str, Any]:
        """The files on the page for installers, with whether they are yanked."""
        answer = self.pypid.get(f"/simple/{project}/", J, user="ada")
        return (
            {}
            if answer.status == 404
            else {file["filename"]: file["yanked"] for file in answer.json["files"]}
        )

    def deeds(self) -> list[tuple[str, str, str]]:
        """What was done after the beginning, by the audit log."""
        said = [(deed.who, deed.what, deed.subject) for deed in self.pypid.deeds()]
        return [deed for deed in said if deed[1] not in ("user log-in", "project publish")]


class YankTests(SettingsCase):
    """PEP 592."""

    def test_release(self) -> None:
        """A release is yanked with a reason, which the page shows, and unyanked."""
        answer = self.send("yank", version="1.0", reason="  bad ", back="1.0")
        self.done(answer, "project/spam/-/settings?version=1.0&done=yanked")
        self.assertEqual(self.files(), {self.wheel: "bad", self.sdist: "bad", self.newer: False})
        self.assertIn("bad", self.look(query="?version=1.0&done=yanked").text)
        self.done(self.send("unyank", version="1"), "project/spam/-/settings?done=unyanked")
        self.assertEqual(set(self.files().values()), {False})
        self.assertEqual(
            self.deeds(),
            [("alice", "project yank", "spam/1.0"), ("alice", "project unyank", "spam/1")],
        )

    def test_file(self) -> None:
        """So is one file; and its reason can be changed."""
        for reason in ("bad", "worse", ""):
            self.done(
                self.send("yank", filename=self.wheel, reason=reason),
                "project/spam/-/settings?done=yanked",
            )
            self.assertEqual(
                self.files(), {self.wheel: reason or True, self.sdist: False, self.newer: False}
            )
        self.send("unyank", filename=self.wheel)
        self.assertEqual(set(self.files().values()), {False})

    def test_as_the_api(self) -> None:
        """The audit log says the same of a form and of the API."""
        self.send("yank", filename=self.wheel, reason="bad")
        self.pypid.api(
            "PUT", f"/api/projects/spam/files/{self.wheel}/yank", {"reason": "bad"}, user="alice"
        )
        by_form, by_api = self.pypid.deeds()[-2:]
        self.assertEqual(
            (by_form.what, by_form.subject, by_form.details),
            (by_api.what, by_api.subject, by_api.details),
        )

    def test_mistakes(self) -> None:
        """A reason that cannot be is shown again with what is wrong; what is not there is 404;
        nothing changes.
        """
        answer = self.send("yank", version="1.0", reason="x" * 1001, back="1.0")
        self.shown(answer, "at most 1000 are allowed")
        self.assertIn(f'value="{"x" * 1001}"', answer.text)
        self.shown(
            self.send("yank", version="1.0", reason="a\0b", back="1.0"), "control characters"
        )
        for fields in ({}, {"version": ""}, {"version": "1.0", "filename": self.wheel}):
            self.shown(self.send("yank", **fields), "one thing")
        for fields in (
            {"version": "9"},
            {"filename": "x"},
            {"filename": f"../{self.wheel}"},
            {"version": "1" * 5000},
        ):
            self.assertEqual(self.send("yank", **fields).status, 404, fields)
        self.assertEqual(self.send("yank", of="nothing", version="1.0").status, 404)
        self.assertEqual((set(self.files().values()), self.deeds()), ({False}, []))


class DeleteTests(SettingsCase):
    """What is gone for good."""

    def test_file(self) -> None:
        """A file is deleted by its typed name, and one is led back to what is left
        of the release.
        """
        answer = self.send("delete", filename=self.wheel, confirm=f" {self.wheel} ", back="1.0")
        self.done(answer, "project/spam/-/settings?version=1.0&done=file-deleted")
        self.assertEqual(set(self.files()), {self.sdist, self.newer})
        answer = self.send("delete", filename=self.sdist, confirm=self.sdist, back="1.0")
        self.done(answer, "project/spam/-/settings?done=file-deleted")
        self.assertEqual(
            [deed[1:] for deed in self.deeds()],
            [("project delete", f"spam/{name}") for name in (self.wheel, self.sdist)],
        )

    def test_release(self) -> None:
        """A release is, by its version."""
        self.done(
            self.send("delete", version="1.0", confirm="1.0", back="1.0"),
            "project/spam/-/settings?done=release-deleted",
        )
        self.assertEqual(
            (set(self.files()), self.deeds()),
            ({self.newer}, [("alice", "project delete", "spam/1.0")]),
        )

    def test_project(self) -> None:
        """All files of a project are, by its name, which stays ours until it is given back."""
        self.done(
            self.send("delete", project="spam", confirm="spam"),
            "project/spam/-/settings?done=project-deleted",
        )
        self.assertEqual((self.files(), self.deeds()), ({}, [("alice", "project delete", "spam")]))
        self.assertNotIn("/-/release-name", self.look().text)
        self.assertIn("/-/release-name", self.look("ada").text)

    def test_confirmation(self) -> None:
        """Nothing is deleted unless the very name was typed; what is wrong is said."""
        for fields, right in (
            ({"filename": self.wheel}, self.wheel),
            ({"version": "1.0"}, "1.0"),
            ({"project": "spam"}, "spam"),
        ):
            for typed in (
                "",
                " ",
                "yes",
                right.upper() + "x",
                right[:-1],
                f"{right}\n{right}",
                self.newer,
                "*",
            ):
                self.shown(self.send("delete", **fields, confirm=typed), f"type {right!r}")
            self.shown(self.send("delete", **fields), "nothing was typed")
        self.shown(self.send("delete", project="eggs", confirm="eggs"), "type 'spam'")
        self.shown(self.send("delete", project="Spam", confirm="Spam"), "type 'spam'")
        for fields in (
            {},
            {"confirm": "spam"},
            {"filename": self.wheel, "project": "spam", "confirm": "spam"},
        ):
            self.shown(self.send("delete", **fields), "one thing")
        for fields in ({"filename": "x", "confirm": "x"}, {"version": "9", "confirm": "9"}):
            self.assertEqual(self.send("delete", **fields).status, 404)
        self.assertEqual(
            (set(self.files()), self.deeds()), ({self.wheel, self.sdist, self.newer}, [])
        )

    def test_without_the_right_to_publish(self) -> None:
        """Who may delete but not publish has no settings to be led back to: to the project, while
        it has files.
        """
        self.pypid.app.rules = Rules(write=RULES.write, delete=AUTHENTICATED)
        self.done(
            self.send("delete", "bob", filename=self.wheel, confirm=self.wheel),
            "project/spam/?done=file-deleted",
        )
        refused = self.send("delete", "bob", filename=self.sdist, confirm="x")
        self.assertEqual(refused.status, 400)
        self.assertNotIn("/-/yank", refused.text)
        self.done(
            self.send("delete", "bob", project="spam", confirm="spam"), "?done=project-deleted"
        )


class AdminTests(SettingsCase):
    """What is for administrators alone."""

    def test_status(self) -> None:
        """A status is set with a reason (PEP 792), and the page says what each means."""
        for status in ("archived", "deprecated", "quarantined", "active"):
            answer = self.send("status", "ada", status=status, reason="because")
            self.done(answer, "project/spam/-/settings?done=status-set")
            said = self.pypid.get("/simple/spam/", J, user="ada").json["project-status"]
            self.assertEqual(said, {"status": status, "reason": "because"})
            page = self.look("ada").text
            self.assertIn(f'value="{status}" checked', page)
            self.assertEqual(page.count(" checked"), 1)
        self.shown(
            self.send("status", "ada", status="sold", reason="kept words"), "active, archived"
        )
        self.assertIn(
            "kept words", self.send("status", "ada", status="sold", reason="kept words").text
        )
        self.shown(self.send("status", "ada"), "Choose one")
        self.assertEqual(self.deeds()[-1], ("ada", "project set-status", "spam"))

    def test_quarantined(self) -> None:
        """Files of a project in quarantine are shown here, so that they can be deleted, though
        installers see none.
        """
        self.send("status", "ada", status="quarantined")
        self.assertEqual(self.files(), {})
        self.assertIn(self.wheel, self.look(query="?version=1.0").text)
        self.done(
            self.send("delete", filename=self.wheel, confirm=self.wheel),
            "project/spam/-/settings?done=file-deleted",
        )

    def test_release_name(self) -> None:
        """The name of an empty project is given back when it was typed; of one with files it is
        not.
        """
        self.shown(self.send("release-name", "ada", confirm="spam"), "still has files")
        self.send("delete", "ada", project="spam", confirm="spam")
        self.shown(self.send("release-name", "ada", confirm="spa"), "type 'spam'")
        self.assertEqual(self.look("ada").status, 200)
        self.done(self.send("release-name", "ada", confirm="spam"), "?done=name-released")
        self.assertEqual(self.look("ada").status, 404)
        self.assertEqual(self.deeds()[-1], ("ada", "project unreserve", "spam"))


class ForgedTests(SettingsCase):
    """Forms that nobody has sent who may."""

    right = (
        ("yank", {"version": "1.0"}),
        ("unyank", {"version": "1.0"}),
        ("delete", {"project": "spam", "confirm": "spam"}),
        ("status", {"status": "quarantined"}),
        ("release-name", {"confirm": "spam"}),
    )

    def untouched(self) -> None:
        """Nothing was changed."""
        self.assertEqual(self.files(), {self.wheel: False, self.sdist: False, self.newer: False})
        self.assertEqual(self.deeds(), [])

    def test_tokens(self) -> None:
        """A token does by a form what it may do by the API: one to publish yanks, deletes nothing,
        and is shown nothing.
        """
        scopes = {
            "publish": Scope(frozenset({Action.WRITE})),
            "read": Scope(frozenset({Action.READ})),
            "elsewhere": Scope(frozenset(Action), ("eggs",)),
        }
        self.pypid.app.rules = Rules(read=AUTHENTICATED, write=RULES.write, delete=RULES.delete)
        status = {}
        for name, scope in scopes.items():
            secret, token = new_token(
                lambda n, name=name: name[:1].encode() * n,
                name=name,
                user="alice",
                scope=scope,
                now=BEGINNING,
            )
            now(self.pypid.accounts.add_token(token))
            by = basic("__token__", secret)
            for deed, fields in self.right:
                status[name, deed] = self.forged(deed, fields, by).status
            status[name, "look"] = self.pypid.ask(
                "GET", "/project/spam/-/settings", AS_PAGE, by
            ).status
            wrong = self.forged("yank", {"version": "1.0", "reason": "x" * 2000}, by)
            self.assertNotIn("-/settings", wrong.text)
        may = {key for key, found in status.items() if found != 403}
        self.assertEqual(may, {("publish", "yank"), ("publish", "unyank")})

    def test_other_methods_and_kinds(self) -> None:
        """The addresses take forms by POST alone."""
        cookie, token = self.browser("ada")
        for deed, fields in self.right:
            query = urlencode({**fields, "csrf_token": token})
            self.assertEqual(
                self.pypid.ask("GET", f"/project/spam/-/{deed}?{query}", AS_PAGE, cookie).status,
                405,
            )
            for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x"):
                headers = (("Content-Type", kind), AS_PAGE, cookie, ("X-CSRF-Token", token))
                answer = self.pypid.ask(
                    "POST", f"/project/spam/-/{deed}", *headers, body=query.encode()
                )
                self.assertEqual(answer.status, 400, (deed, kind))
        self.untouched()

    def test_hostile_words(self) -> None:
        """What somebody has typed or stored is text, wherever it is shown; and leads nowhere."""
        self.send("status", "ada", status="archived", reason=NASTY)
        self.send("yank", version="1.0", reason=NASTY)
        pages = [self.look("ada"), self.look(query="?version=1.0"), self.look()]
        pages += [
            self.send("delete", **fields, confirm=NASTY)
            for fields in ({"version": NASTY}, {"project": "spam"})
        ]
        pages += [
            self.send("yank", version="1.0", reason=NASTY * 20, back="1.0"),
            self.send("yank", "ada", version=NASTY),
        ]
        pages += [
            self.look(query=f"?{urlencode({'version': NASTY})}"),
            self.send("status", "ada", status=NASTY, reason=NASTY),
        ]
        for page in pages:
            self.assertNotIn("<script>alert", page.text)
            self.assertNotIn("<b onmouse", page.text)
            self.assertIn("default-src 'none'", str(page["content-security-policy"]))
        for back in ("//evil.example", NASTY, "1.0\r\nSet-Cookie: x=y", "../../..", "9"):
            self.done(
                self.send("unyank", version="1.0", back=back, page=back),
                "project/spam/-/settings?done=unyanked",
            )


class PageTests(SettingsCase):
    """What is shown."""

    def test_forms(self) -> None:
        """Each form is there for who may send it."""
        page, release = self.look().text, self.look(query="?version=1").text
        self.assertIn('<a href="../../../project/spam/-/settings?version=2.0">2.0</a>', page)
        self.assertLess(page.index(">2.0</a>"), page.index(">1.0</a>"))
        self.assertIn("Settings of spam 1.0", release)
        for name in (self.wheel, self.sdist):
            self.assertEqual(release.count(f'name="filename" value="{name}"'), 2)
        self.assertNotIn(self.newer, release)
        self.pypid.app.rules = Rules(write=RULES.write)
        self.assertNotIn("/-/delete", self.look().text + self.look(query="?version=1.0").text)

    def test_addresses(self) -> None:
        """Another spelling leads to the right one; what is not ours, or not there, is 404; a wrong
        parameter is 400.
        """
        cookie, _ = self.browser("alice")
        for path in ("/project/Spam/-/settings", "/project/spam/-/settings/"):
            self.assertEqual(self.pypid.ask("GET", path, AS_PAGE, cookie).status, 301)
        self.assertEqual(self.look(project="nothing").status, 404)
        self.assertEqual(self.look(query="?version=9").status, 404)
        self.assertEqual(self.look(query="?x=1").status, 400)
        for page in ("0", "-1", "999999999", "x", "٣", "1" * 250):
            self.assertEqual(self.look(query=f"?{urlencode({'page': page})}").status, 200)

    def test_pages(self) -> None:
        """Of many releases, or many files of one, a page has a hundred."""
        [file, *_] = now(self.pypid.app.index.context.known(project_name("spam"))).files
        files = tuple(
            msgspec.structs.replace(file, version=f"1.{n}", filename=f"spam-1.{n}.tar.gz")
            for n in range(250)
        )
        found = listing(Project(name=ProjectName("spam"), files=files), None, "3")
        self.assertEqual(
            (found.pages, found.page, [each.version for each in found.releases][-1]), (3, 3, "1.0")
        )
        self.assertEqual(len(listing(found.project, None, "1").releases), LINES)
        files = tuple(
            msgspec.structs.replace(file, filename=f"spam-1.0-{n}-py3-none-any.whl")
            for n in range(250)
        )
        found = listing(Project(name=ProjectName("spam"), files=files), "1", "9")
        self.assertEqual(
            (found.pages, found.page, len(found.files), found.releases), (3, 3, 50, [])
        )

    def test_ten_thousand_files(self) -> None:
        """A project with ten thousand files has a page that is small and quick."""
        name = project_name("spam")
        [file, *_] = now(self.pypid.app.index.context.known(name)).files
        files = tuple(
            msgspec.structs.replace(
                file, version=f"{n // 10}.0", filename=f"spam-{n // 10}.0-{n % 10}-py3-none-any.whl"
            )
            for n in range(10_000)
        )
        now(
            self.pypid.catalog.local.edit(name, lambda _: Project(name=name, files=in_order(files)))
        )
        self.look()
        begun = perf_counter()
        page = self.look()
        self.assertLess(perf_counter() - begun, 0.5)
        self.assertEqual((page.status, "Page 1 of 10" in page.text), (200, True))
        self.assertLess(len(page.body), 60_000)
        self.assertLess(len(self.look(query="?version=7.0").body), 40_000)
