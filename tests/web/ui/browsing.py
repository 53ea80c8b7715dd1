"""Somebody with a browser before a whole pypid: a cookie that is kept, the token that each page
has, forms that are sent.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlencode

from attrs import define, evolve, field

from pypid.core.accounts.rights import Account, AccountStatus
from pypid.core.accounts.sessions import AccountSettings
from pypid.web.app.app import Configured
from tests.web.app_with_accounts import Peopled, have
from tests.web.full_app import CHEAP, HOST, PASSWORDS, Answer, Pypid, WholeCase

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
FORM = ("Content-Type", "application/x-www-form-urlencoded")
OURS = ("Origin", f"http://{HOST}")
_TOKEN = re.compile(r'<meta name="csrf-token" content="([0-9a-f]+)">')
HOSTILE = "\"'<svg/onload>&amp"
"""What nobody can be called here, but somebody may in a configuration."""


@define
class Browser:
    """One window. `token`: what it says beside its cookie, out of the last page that had one."""

    pypid: Pypid
    cookie: str | None = None
    token: str = ""
    answers: list[Answer] = field(factory=list)

    def get(self, path: str, *headers: tuple[str, str]) -> Answer:
        """A page."""
        return self._took(self.pypid.get(path, BROWSER, *self._cookies(), *headers))

    def post(self, path: str, *headers: tuple[str, str], **fields: str | list[str]) -> Answer:
        """The answer to a form, which has the token unless `fields` say another one."""
        body = urlencode({"csrf_token": self.token, **fields}, doseq=True).encode()
        said = (("Accept", BROWSER), FORM, *self._cookies(), *(headers or (OURS,)))
        return self._took(self.pypid.ask("POST", path, *said, body=body))

    def log_in(self, user: str, password: str | None = None, back: str = "") -> Answer:
        """By the form; the token is that of the next page."""
        said = {
            "user": user,
            "password": PASSWORDS[user] if password is None else password,
            "next": back,
        }
        answer = self.post("/account/login", **said)
        if answer.status == 303:
            self.get("/account/")
        return answer

    def _cookies(self) -> tuple[tuple[str, str], ...]:
        return () if self.cookie is None else (("Cookie", self.cookie),)

    def _took(self, answer: Answer) -> Answer:
        said = answer["set-cookie"]
        if said is not None:
            self.cookie = None if "Max-Age=0" in said else said.split(";")[0]
        found = _TOKEN.search(answer.body.decode("utf-8", "replace"))
        if found is not None:
            self.token = found[1]
        self.answers.append(answer)
        return answer


class BrowsedCase(WholeCase):
    """A pypid with accounts, whose ``[access]`` says `people` of them; ada administers it, alice
    may publish.
    """

    people = AccountSettings()
    configured: Configured | None = None
    directory = False

    def setUp(self) -> None:
        super().setUp()
        self.pypid.app.settings = evolve(self.pypid.app.settings, people=self.people)
        folder = Path(self.mktemp())
        self.peopled = Peopled(
            self.pypid, folder, configured=self.configured, directory=self.directory
        )
        self.browser = Browser(self.pypid)

    def as_user(self, user: str, password: str | None = None) -> Browser:
        """Another window, in which somebody has logged in."""
        browser = Browser(self.pypid)
        self.assertEqual(browser.log_in(user, password).status, 303)
        return browser

    def have_account(
        self,
        name: str,
        password: str = "",
        *,
        admin: bool = False,
        status: AccountStatus = AccountStatus.ACTIVE,
    ) -> None:
        """An account of the database."""
        now = self.pypid.world.now()
        account = Account(
            name=name,
            hash=CHEAP.hash(password or f"{name}'s"),
            admin=admin,
            status=status,
            created=now,
            changed=now,
        )
        have(self.peopled.accounts.add_user(account))

    def standing(self, name: str) -> AccountStatus | None:
        """Of an account; None where there is none."""
        found = [account for account in have(self.peopled.accounts.users()) if account.name == name]
        return found[0].status if found else None

    def done(self, *, but: str = "user log-in") -> list[tuple[str, str, str]]:
        """Who did what to what."""
        return [deed for deed in self.peopled.done() if deed[1] != but]

    def went(self, answer: Answer, where: str) -> None:
        """The form was carried out, and leads there."""
        self.assertEqual((answer.status, answer["location"]), (303, where), answer.text[:3000])

    def said_wrong(self, answer: Answer, status: int, *words: str) -> None:
        """The form is shown again, and says what is wrong."""
        self.assertEqual(answer.status, status, answer)
        self.assertIn('id="problems"', answer.text)
        for word in words:
            self.assertIn(word, answer.text)

    def never_told(self, *secrets: str) -> None:
        """None of these is in a log, in the audit log, or in the address of anything."""
        written = "\n".join(self.pypid.log) + repr(self.peopled.deeds()) + repr(self.browser)
        written += repr([(answer["location"], answer.reason) for answer in self.browser.answers])
        for secret in secrets:
            self.assertNotIn(secret, written.replace(repr(self.browser.answers), ""))
