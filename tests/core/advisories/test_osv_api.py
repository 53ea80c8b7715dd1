"""What OSV queries ask for, and what a private record shows to whom."""

import json

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.advisories import OsvQuery, OsvTarget, target_of, visible_record
from pypid.core.errors import BadRequest
from pypid.core.packaging.names import ProjectName, project_name

SPAM, HAM = project_name("spam"), project_name("ham")
RECORD = {
    "schema_version": "1.7.0",
    "id": "ACME-1",
    "modified": "2026-01-01T00:00:00Z",
    "summary": "ham leaks",
    "details": "ham leaks tokens",
    "references": [{"type": "WEB", "url": "https://acme.example/ham"}],
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "Spam"},
            "versions": ["1.0"],
            "database_specific": {"source": "https://acme.example/ham"},
        },
        {"package": {"ecosystem": "PyPI", "name": "ham"}, "versions": ["1.0"]},
        {"package": {"ecosystem": "npm", "name": "spam"}, "versions": ["1.0"]},
        {"package": {"ecosystem": "PyPI", "name": "/"}},
        {"versions": ["2"]},
    ],
}


def query(**document: object) -> OsvTarget:
    return target_of(msgspec.convert(document, OsvQuery))


class QueryTests(SynchronousTestCase):
    def test_package(self) -> None:
        """A package is named by its name, in any spelling, or by its package URL."""
        pypi = {"name": "Sp_am", "ecosystem": "PyPI"}
        name = project_name("sp-am")
        self.assertEqual(query(package=pypi, version="1"), OsvTarget(name, "1"))
        self.assertEqual(query(package=pypi), OsvTarget(name))
        self.assertEqual(query(package=pypi, version=""), OsvTarget(name))
        self.assertEqual(query(package=pypi, page_token="12"), OsvTarget(name, None, 12))
        for purl in ("pkg:pypi/sp-am@1%2Bcu", "pkg:pypi/Sp_am@1+cu?x=y#z"):
            self.assertEqual(query(package={"purl": purl}), OsvTarget(name, "1+cu"))
        self.assertEqual(
            query(package={"purl": "pkg:pypi/spam"}, version="2"), OsvTarget(SPAM, "2")
        )

    def test_what_this_index_has_nothing_of(self) -> None:
        """Other ecosystems, commits, impossible names and versions are valid, and find nothing."""
        nothing = OsvTarget(None)
        self.assertEqual(query(commit="ab" * 20), nothing)
        for package in (
            {"name": "spam", "ecosystem": "npm"},
            {"name": "spam", "ecosystem": "pypi"},
            {"name": "/", "ecosystem": "PyPI"},
            {"purl": "pkg:npm/spam@1"},
        ):
            self.assertIsNone(query(package=package).project)
        long = query(package={"name": "spam", "ecosystem": "PyPI"}, version="1" * 300)
        self.assertIsNone(long.project)

    def test_refused(self) -> None:
        """A query that says too little or too much is refused."""
        pypi = {"name": "spam", "ecosystem": "PyPI"}
        for document in (
            {},
            {"version": "1"},
            {"package": pypi, "commit": "ab"},
            {"package": {"name": "spam"}},
            {"package": {"ecosystem": "PyPI"}},
            {"package": {"purl": "pkg:pypi/spam", **pypi}},
            {"package": {"purl": "pkg:pypi/spam@1"}, "version": "1"},
            {"package": pypi, "page_token": "x"},
            {"package": pypi, "page_token": "-1"},
            {"package": pypi, "page_token": "1" * 10},
        ):
            self.assertRaises(BadRequest, query, **document)


class VisibleRecordTests(SynchronousTestCase):
    def visible(self, *seen: ProjectName) -> bytes | None:
        return visible_record(json.dumps(RECORD).encode(), (SPAM, HAM), seen.__contains__)

    def test_all_projects(self) -> None:
        """Who may read all its projects gets the record as it is."""
        self.assertEqual(self.visible(SPAM, HAM), json.dumps(RECORD).encode())

    def test_no_project(self) -> None:
        """For who may read none of them there is no record, nor one that names no project."""
        self.assertIsNone(self.visible())
        self.assertIsNone(visible_record(b"{}", (), lambda name: True))

    def test_some_projects(self) -> None:
        """What remains names no other project: all free text is left out."""
        visible = self.visible(SPAM)
        assert visible is not None
        self.assertNotIn(b"ham", visible)
        self.assertEqual(
            json.loads(visible),
            {
                "schema_version": "1.7.0",
                "id": "ACME-1",
                "modified": "2026-01-01T00:00:00Z",
                "affected": [
                    {"package": {"ecosystem": "PyPI", "name": "Spam"}, "versions": ["1.0"]}
                ],
            },
        )
