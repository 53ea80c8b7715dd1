"""URLs of a devpi-server lead to the named index that replaces it."""

from __future__ import annotations

from urllib.parse import urljoin

from attrs import evolve

from pypid.core.indexes import IndexSettings
from pypid.web.app.index_apps import devpi_location
from tests.web.full_app import J
from tests.web.test_below_index import BelowIndexCase

DIGEST = "86a/9e0e58a3601ec"


class DevpiUrlTests(BelowIndexCase):
    """The index ``team`` replaces ``alice/prod`` of a devpi-server."""

    def setUp(self) -> None:
        super().setUp()
        self.replace(team="alice/prod old/prod", hidden="alice/secret")

    def replace(self, **origins: str) -> None:
        """Say which indexes of a devpi-server the named indexes replace."""
        settings = self.pypid.indexes.settings
        self.pypid.configure(
            *(evolve(settings[name], devpi=tuple(text.split())) for name, text in origins.items())
        )

    def target(self, path: str, method: str = "GET") -> str | None:
        """Where a request is redirected to; None if it is not."""
        answer = self.pypid.ask(method, path)
        if answer.status not in (302, 307):
            self.assertEqual(answer.status, 404, answer)
            return None
        return urljoin(path, answer["Location"] or "")

    def test_pages_and_files(self) -> None:
        """Each address of an installer, and that of uploads."""
        filename, data = self.have_file("team")
        for path, target in (
            ("/alice/prod/+simple/", "/team/simple/"),
            ("/alice/prod/+simple", "/team/simple/"),
            ("/alice/prod/+simple/Spam/", "/team/simple/Spam/"),
            ("/alice/prod/+simple/spam", "/team/simple/spam/"),
            ("/alice/prod/+simple/spam/?x=1", "/team/simple/spam/?x=1"),
            ("/old/prod/+simple/spam/", "/team/simple/spam/"),
            ("/alice/prod/simple/spam/", "/team/simple/spam/"),
            ("/alice/prod/spam/", "/team/simple/spam/"),
            ("/alice/prod/", "/team/simple/"),
            (f"/alice/prod/+f/{DIGEST}/{filename}", f"/team/packages/spam/{filename}"),
            (
                f"/alice/prod/+f/{DIGEST}/{filename}.metadata",
                f"/team/packages/spam/{filename}.metadata",
            ),
            (
                f"/alice/prod/+e/https_pypi.example_packages/{filename}",
                f"/team/packages/spam/{filename}",
            ),
        ):
            self.assertEqual(self.target(path), target, path)
        self.assertEqual(self.target("/alice/prod/", "POST"), "/team/legacy/")
        moved = self.target(f"/alice/prod/+f/{DIGEST}/{filename}")
        self.assertEqual(self.pypid.get(moved or "").body, data)

    def test_other_addresses(self) -> None:
        """Indexes that were not imported, and the API of devpi, are not there."""
        for path in (
            "/alice/other/+simple/",
            "/bob/prod/+simple/",
            "/alice/prod/+api",
            "/alice/prod/+f/x.txt",
            "/alice/+api",
            "/+api",
        ):
            self.assertIsNone(self.target(path), path)

    def test_user_with_the_name_of_a_route_or_an_index(self) -> None:
        """The routes of pypid and of its indexes stay; what only devpi-server has is redirected."""
        self.have_file("team")
        self.have_wheel("prod")
        self.replace(team="team/simple simple/prod", hidden="")
        self.assertEqual(self.pypid.get("/team/simple/spam/", J).status, 200)
        self.assertEqual(self.pypid.get("/simple/prod/", J).status, 200)
        self.assertEqual(self.target("/team/simple/+simple/spam/"), "/team/simple/spam/")
        self.assertEqual(self.target("/simple/prod/+simple/spam/"), "/team/simple/spam/")

    def test_index_behind_a_wall(self) -> None:
        """The redirect shows nothing: the index itself asks for a login."""
        target = self.target("/alice/secret/+simple/spam/")
        self.assertEqual(target, "/hidden/simple/spam/")
        self.assertEqual(self.pypid.get(target or "").status, 401)

    def test_settings_change(self) -> None:
        """The next request follows them."""
        self.replace(team="")
        self.assertIsNone(self.target("/alice/prod/+simple/"))
        self.pypid.configure(IndexSettings(name="team", bases=(), devpi=("c/d",)))
        self.assertEqual(self.target("/c/d/+simple/"), "/team/simple/")

    def test_hostile_file_names(self) -> None:
        """A file name is parsed before it becomes part of an address."""
        for path in (["+f", ".."], ["+f", "//evil"], ["+f"], ["+f", ""], ["+e", "\n-1.0.zip"]):
            self.assertIsNone(devpi_location("team", path), path)
