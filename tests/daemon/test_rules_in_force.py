"""Rules and names of users that follow from the configuration."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.names import project_name
from pypid.daemon.rules_in_force import configured_by, in_force
from pypid.wiring.configuration import load_config

TEXT = """
[access]
write = ann
owners = uploader
[projects]
acme-data-*.user.bob = rw
[index:release]
write = carol
[issuer:github]
url = https://token.actions.githubusercontent.com
allow = acme-* repository=acme/app as_user=dave
"""


class ConfiguredTests(SynchronousTestCase):
    """A configuration with rules in each section."""

    def setUp(self) -> None:
        ini = Path(self.mktemp())
        ini.write_text(TEXT)
        self.config = load_config(ini)

    def test_mentioned(self) -> None:
        """An account of a name that any rule mentions is not made by accident."""
        mentioned = configured_by(self.config, None).mentioned
        self.assertLessEqual({"ann", "bob", "carol", "dave"}, mentioned)

    def test_globs(self) -> None:
        """A glob of [projects] gives the right, and makes the names that match it local."""
        found = in_force(self.config, ())
        name = project_name("Acme_Data.Core")
        own = found.rules.projects.get(name)
        assert own is not None
        self.assertEqual(own.write.text(), "bob")
        self.assertIn(name, found.claims)
        self.assertNotIn(project_name("acme-web"), found.claims)
