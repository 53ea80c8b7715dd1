"""What the documents say of the program is what the program says of itself."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.reference import configuration_rst

DOCS = Path(__file__).parent.parent / "docs"


class ConfigurationTests(SynchronousTestCase):
    """docs/configuration.rst."""

    def test_in_step(self) -> None:
        """The page of the configuration is the one that the declared keys make (`make docs` writes
        it).
        """
        self.assertEqual((DOCS / "configuration.rst").read_text(), configuration_rst())
