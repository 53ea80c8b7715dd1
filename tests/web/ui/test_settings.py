"""The settings of a project: what of it is shown to whom, and the forms that change it."""

from __future__ import annotations

from html import unescape
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlencode

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.sessions import AccountSettings
from pypid.core.model import Project, in_order
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Action, Principals, Rules
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.web.app_with_registration import OURS, Registering, cookie_of, now
from tests.web.full_app import PASSWORDS, Answer, J, form

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


class AdminTests(SettingsCase):
    """What is for administrators alone."""

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
