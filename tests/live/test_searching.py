"""Searching a real pypid: each worker finds what was published a moment ago, whichever of them
keeps the index in step.
"""

import http.client
import json

from tests.live.projects import publish, wheel
from tests.live.test_workers import WorkersCase
from tests.live.workers import until


def names(connection: http.client.HTTPConnection, words: str) -> list[str]:
    """What is found over this connection."""
    connection.request("GET", f"/api/search?q={words}")
    return [each["name"] for each in json.loads(connection.getresponse().read())["found"]]


class SearchingTests(WorkersCase):
    def test_workers(self) -> None:
        """All find the same; and go on doing so after the file was taken away from under them."""
        publish(self.index, wheel("spam"))
        made = self.connected()
        until(lambda: all(names(each, "spam") == ["spam"] for each in made), self.index)
        for path in (self.index.folder / "state").glob("search.sqlite*"):
            path.unlink()
        publish(self.index, wheel("spam-b"))
        until(lambda: all(names(each, "spam") == ["spam", "spam-b"] for each in made), self.index)
        self.assertNotIn("Traceback", self.index.log())
