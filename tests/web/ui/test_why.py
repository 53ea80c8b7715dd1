"""Why a name is as it is here, for those who may publish and read."""

from __future__ import annotations

from datetime import timedelta

from pypid.core.configuration.choices import Mode
from pypid.core.configuration.values import COOLDOWN
from pypid.core.errors import UpstreamDown
from pypid.core.permissions import AUTHENTICATED, Principals, Rules
from pypid.core.policy import Policy
from tests.distributions import sdist_filename
from tests.support.worlds import BEGINNING
from tests.web.full_app import J
from tests.web.ui.administered import AdministeredCase


def url(project: str) -> str:
    return f"/project/{project}/-/why"


class WhyTests(AdministeredCase):
    policy = Policy(
        mode=Mode.CACHE, reserved=("acme-*",), deny=("evil",), cooldown=COOLDOWN.parse("0 young=3d")
    )

    def test_hidden(self) -> None:
        """Each hidden file with the rule that hides it, and until when; where upstream's answer
        came from, and when.
        """
        name = sdist_filename("young")
        self.upstream.has("young", name, b"x", BEGINNING + timedelta(hours=-1))
        self.pypid.get("/simple/young/", J)
        text = self.page(url("young"))
        self.assertIn("1 hidden file", text)
        self.assertIn(name, text)
        self.assertIn("cooldown", text)
        self.assertIn(f"{BEGINNING + timedelta(days=3, hours=-1):%Y-%m-%d %H:%M}", text)
        self.assertIn("https://elsewhere.example/simple/", text)
        self.assertIn("<dd>1 file, active", text)

    def test_who(self) -> None:
        """Readers see the page without the address of upstream and its errors; who may publish and
        not read is refused: the page tells of files.
        """
        self.pypid.index.gate.breaker.failed(UpstreamDown("10.1.2.3 timed out", unreachable=True))
        for secret in ("https://elsewhere.example/simple/", "10.1.2.3"):
            self.assertIn(secret, self.page(url("ham")))
            for user in ("bob", None):
                answer = self.look(url("ham"), user)
                self.assertEqual(answer.status, 200, user)
                self.assertNotIn(secret, answer.text)
                self.assertIn("1 cached file", answer.text)
        self.peopled.defaults = self.pypid.app.rules = Rules(
            read=Principals(users=frozenset({"alice"})),
            write=AUTHENTICATED,
            fetch=Principals(users=frozenset({"alice"})),
        )
        answer = self.look(url("spam"), "bob")
        self.assertEqual(answer.status, 403)
        self.assertNotIn(".whl", answer.text)
        self.assertEqual(self.upstream.heard.count("spam"), 0)
