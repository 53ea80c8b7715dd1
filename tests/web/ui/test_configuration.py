"""The configuration in force, and the level of the log."""

from __future__ import annotations

from pypid.core.configuration.in_force import in_force
from pypid.core.configuration.parse import Config
from tests.core.configuration.test_parse import HASH, with_secrets
from tests.support.configuration import parse
from tests.web.ui.administered import AdministeredCase

URL = "/manage/configuration"


class ConfigurationTests(AdministeredCase):
    def use(self, started: Config, read: Config | None = None) -> None:
        """From now on this is in force, and that what the file says."""
        self.pypid.app.configuration = lambda: in_force(started, read or started)

    def test_secrets(self) -> None:
        """No secret of any key is on the page or in the JSON, nor a hash of a password, nor who
        logs in at an index.
        """
        config = parse(f"{with_secrets()}[users]\nalice = {HASH}\n", filename="x.ini")
        for started, read in ((config, config), (Config(), config), (config, Config())):
            self.use(started, read)
            text = self.page(URL) + self.pypid.api("GET", "/api/configuration").text
            self.assertNotIn("hunter2", text)
            self.assertNotIn("argon2", text)
            self.assertIn("(set)", text)

    def test_hostile(self) -> None:
        """Whatever the file says is text."""
        self.use(
            parse(
                "[groups]\n<b>x</b> = bob\n[server]\nstate = <script>alert(1)</script>\n",
                filename="<i>.ini",
            )
        )
        text = self.look(URL).text
        for tag in ("<b>", "<script>a", "<i>"):
            self.assertNotIn(tag, text)
        self.assertIn("&lt;script&gt;", text)
