"""All the releases of a project: `pypid.web.ui.project`."""

from __future__ import annotations

import re

from attrs import evolve
from msgspec.structs import replace

from pypid.core.model import in_order
from pypid.web.ui.project import LINES
from tests.web.ui.test_project import SPAM, ProjectCase


class VersionsTests(ProjectCase):
    """Somebody who looks for an old release."""

    def versions(self, query: str = "") -> list[str]:
        """The versions on a page of the list."""
        page = self.see(f"-/versions{query}").text
        return re.findall(r'<th scope="row"><a href="../../../project/spam/([^"/]*)/">', page)

    def test_pages(self) -> None:
        """They are listed in pages; a page that is not there is the nearest one."""
        self.have_wheel(version="1.0")
        project = self.have(self.pypid.index.project(SPAM))
        [first] = project.files
        more = [
            replace(first, filename=f"spam-2.{number}-py3-none-any.whl", version=f"2.{number}")
            for number in range(2 * LINES)
        ]
        self.have(
            self.pypid.catalog.local.edit(
                SPAM, lambda before: evolve(project, files=in_order((first, *more)))
            )
        )
        pages = [self.versions(f"?page={number}") for number in (1, 2, 3)]
        self.assertEqual([len(page) for page in pages], [LINES, LINES, 1])
        self.assertEqual((pages[0][0], pages[2]), (f"2.{2 * LINES - 1}", ["1.0"]))
        self.assertEqual(self.versions("?page=4"), pages[2])
        for odd in ("?page=0", "?page=-1", "?page=x", "?page=", "?page=%C2%B2", "?" + "a=1&" * 60):
            self.assertEqual(self.versions(odd), pages[0], odd)
        self.assertIn('rel="next" href="?page=2"', self.see("-/versions").text)
