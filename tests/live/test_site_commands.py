"""The commands that the first page gives to be copied do what they say, as they stand there, with
the real clients.
"""

import re
import shlex
import urllib.request
from html import unescape
from pathlib import Path

from tests.live.asking import ask, basic
from tests.live.clients import client
from tests.live.daemon import IndexTestCase, Settings
from tests.live.isolation import works
from tests.live.processes import BIN
from tests.live.projects import Artifact, listed, sdist


def commands(page: str, label: str) -> list[list[str]]:
    """The commands in the block of this label, in words."""
    found = re.search(rf'aria-label="{label}"[^>]*><code>(.*?)</code>', page, re.DOTALL)
    assert found is not None, f"{label}: {page}"
    return [shlex.split(line) for line in unescape(found[1]).splitlines()]


class CommandTests(IndexTestCase):
    """An index that everybody reads."""

    settings = Settings()

    def page(self) -> str:
        """The first page, as alice sees it, who may publish."""
        return ask(self.index.port, "/", basic("alice")).text

    def copied(self, label: str, project: str = "") -> list[list[str]]:
        """The commands, with the name put in."""
        return [
            [project if word == "PROJECT" else word for word in words]
            for words in commands(self.page(), label)
        ]

    def built(self, artifact: Artifact) -> Path:
        """A folder whose ``dist`` has the file."""
        folder = self.folder / artifact.filename
        (folder / "dist").mkdir(parents=True)
        (folder / "dist" / artifact.filename).write_bytes(artifact.data)
        return folder

    def test_token(self) -> None:
        """The command in the served .pypirc creates a token on the server. twine publishes with it
        by that file, and twine and uv by the commands of the first page, all as printed.
        """
        with urllib.request.urlopen(self.index.url("/config/.pypirc"), timeout=30) as answer:
            pypirc = answer.read().decode()
        [line] = re.findall(r"^# +pypid (.*)$", pypirc, re.MULTILINE)
        words = ["alice" if word == "NAME" else word for word in shlex.split(line)]
        said = works(
            [BIN / "pypid", *words, "--quiet"], self.folder, PYPID_CONFIG=str(self.index.config)
        )
        token = said.strip()
        (self.folder / ".pypirc").write_text(
            pypirc.replace("# password = pypi-...", f"password = {token}")
        )
        folder = self.built(sdist("sc-filed"))
        upload = ["upload", "--repository", "pypid", "--config-file", self.folder / ".pypirc"]
        file = folder / "dist" / sdist("sc-filed").filename
        works([client("twine"), *upload, file], self.folder, cwd=folder)
        self.assertEqual(len(listed(self.index, "sc-filed")), 1)
        typed = {"TWINE_PASSWORD": token, "UV_PUBLISH_PASSWORD": token}
        for label, name in (("twine", "sc-twine-token"), ("uv", "sc-uv-token")):
            folder = self.built(sdist(name))
            [words] = self.copied(f"Publish with {label}")
            file = folder / "dist" / sdist(name).filename
            typed_in = {"dist/*": str(file), "alice": "__token__"}
            expanded = [typed_in.get(word, word) for word in words[1:]]
            works([client(label), *expanded], self.folder, cwd=folder, **typed)
            self.assertEqual(len(listed(self.index, name)), 1)
