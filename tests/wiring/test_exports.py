"""Who may have an export written, and where to."""

from __future__ import annotations

from typing import Any

from pypid.core.errors import BadRequest
from pypid.core.export_request import Export, ExportedIndex
from pypid.flow import start
from pypid.web.app.app import App
from tests.wiring.test_recipe import ServiceCase


class WhoTests(ServiceCase):
    """Whoever asks is an administrator of the index, which is not to be one of the machine."""

    def setUp(self) -> None:
        super().setUp()
        self.public, self.operators = self.make_with_apps()[1]
        self.target = self.folder / "tree"

    def refused(self, app: App, target: str) -> str:
        """Why there is no export."""

        async def ask() -> ExportedIndex:
            assert app.exports is not None
            return await app.exports(Export(target=target), lambda done, of: None)

        failure: Any = self.failureResultOf(start(ask()), BadRequest)
        return str(failure.value)

    def test_network(self) -> None:
        """Over the network nobody has anything written, wherever it would be; on the machine it is
        another question.
        """
        for target in (str(self.target), "s3://another/bucket"):
            self.assertIn("pypid export", self.refused(self.public, target))
        self.assertFalse(self.target.exists())
        self.assertIn("state folder", self.refused(self.operators, str(self.state / "tree")))

    def test_no_path(self) -> None:
        """What can be no path of a file is refused."""
        for target in (f"{self.target}\0", "tree", ""):
            self.assertIn("no absolute path", self.refused(self.operators, target))
