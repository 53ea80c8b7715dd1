"""Trees for tests: a pypid whose index is written into a folder, and what is read
back from there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pypid.core.errors import BadRequest
from pypid.core.export_request import ExportedIndex
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Grants, Identity, Principals, Rules
from pypid.export.exporter import export
from pypid.export.source import Authority, ExportViewer
from pypid.export.targets import ExportPlace, FolderPlace
from pypid.export.tree import ExportOptions
from pypid.flow import start
from tests.web.full_app import PASSWORDS, Pypid
from tests.web.installers.test_local import LocalCase

IDENTITY = "the storage of these tests"
BASE = "https://index.example"
SECRET_OF_BOB = Grants(
    read=Principals(users=frozenset({"bob"})), write=Principals(users=frozenset({"alice"}))
)


def authority_of(pypid: Pypid) -> Authority:
    """As the wiring makes one; ada is an admin, and everybody of `PASSWORDS` is known."""

    async def find(user: str) -> Identity | None:
        return Identity(user, admin=user == "ada") if user in PASSWORDS else None

    app = pypid.app
    return Authority(
        rules=lambda: app.rules,
        closed=lambda: app.closed,
        find=find,
    )


def files_in(folder: Path) -> dict[str, bytes]:
    """All files of a tree, hidden ones left out."""
    found = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }
    return {path: where.read_bytes() for path, where in found.items() if not path.startswith(".")}


def names_in(folder: Path) -> list[str]:
    """What the list names."""
    return [
        project["name"]
        for project in json.loads((folder / "simple/index.json").read_bytes())["projects"]
    ]


def page_in(folder: Path, name: str) -> dict[str, Any]:
    """A project's page in JSON."""
    document: dict[str, Any] = json.loads((folder / f"simple/{name}/index.json").read_bytes())
    return document


def linked_in(folder: Path, name: str) -> dict[str, bytes]:
    """What the links of a page lead to in the tree, by the link."""
    html = (folder / f"simple/{name}/index.html").read_text()
    links = [link.partition("#")[0] for link in re.findall(r'href="([^"]+)"', html)]
    return {
        link: (folder / "simple" / name / unquote(link)).resolve().read_bytes() for link in links
    }


class TreeCase(LocalCase):
    """A pypid in front of an index that has ham, and a folder."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()

    def hide(self, *names: str) -> None:
        """From now on only bob may read these."""
        app = self.pypid.app
        projects: Mapping[Any, Grants] = {project_name(name): SECRET_OF_BOB for name in names}
        app.rules = Rules(read=app.rules.read, write=app.rules.write, projects=projects)
        app.auth_generation.bump()

    def write(
        self, place: ExportPlace | None = None, *, clears: bool = False, **wishes: Any
    ) -> ExportedIndex:
        """Export."""
        return self.have(self.writing(place, clears=clears, **wishes))

    def not_written(self, *words: str, **wishes: Any) -> None:
        """An export is refused, and says these words."""
        failure = self.failureResultOf(start(self.writing(**wishes)), BadRequest)
        for word in words:
            self.assertIn(word, str(failure.value))

    async def writing(
        self,
        place: ExportPlace | None = None,
        *,
        clears: bool = False,
        verifies: bool = False,
        **wishes: Any,
    ) -> ExportedIndex:
        """An export."""
        where = place or FolderPlace(str(self.folder), self.pypid.world)
        try:
            options = ExportOptions(**{"base_url": BASE, **wishes})
            viewer = ExportViewer(
                self.pypid.index, authority_of(self.pypid), options.user, options.stored_only
            )
            return await export(viewer, where, options, IDENTITY, clears=clears, verifies=verifies)
        finally:
            if place is None:
                await where.close()

    def tree(self) -> dict[str, bytes]:
        """What lies in the folder."""
        return files_in(self.folder)
