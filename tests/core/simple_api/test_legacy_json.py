"""The legacy JSON API (C110, C80, C112), and which release a project is told by."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import File, Project
from pypid.core.packaging.releases import choose_release, describing_file, releases
from pypid.core.simple_api.legacy_json import render_legacy
from tests.core.simple_api.test_render import a_file, a_project, projects


def words(text: str) -> set[str]:
    """The words of the text."""
    return set(text.split())


INFO = words(
    "name version summary description description_content_type keywords license "
    "license_expression license_files classifiers author author_email maintainer maintainer_email "
    "requires_python platform downloads package_url project_url project_urls release_url "
    "requires_dist provides_extra docs_url bugtrack_url home_page download_url yanked "
    "yanked_reason dynamic"
)
FILE = words(
    "filename packagetype python_version has_sig comment_text md5_digest digests core-metadata "
    "size downloads upload_time upload_time_iso_8601 url requires_python yanked yanked_reason"
)
METADATA = b"""\
Metadata-Version: 2.4
Name: DeMo
Version: 1.0
Summary: Shows  things
Keywords: x,y z
Author-Email: A <a@example.org>
License-Expression: MIT
License-File: LICENSE
Classifier: Topic :: Software Development
Requires-Dist: attrs>=20; extra == "more"
Provides-Extra: more
Project-URL: Docs, https://docs.example.org
Requires-Python: >=3.9
Platform: UNKNOWN
Dynamic: description
Description-Content-Type: text/x-rst

A *long* text.
"""


def legacy(
    project: Project, version: str | None = None, metadata: bytes | None = None
) -> dict[str, Any]:
    """The document, checked for its keys."""
    page = render_legacy(project, version, metadata, base_url="https://host/")
    assert page is not None
    assert page.content_type == "application/json"
    document: dict[str, Any] = json.loads(page.body)
    keys = {"info", "urls", "releases", "last_serial", "ownership"}
    assert document.keys() == (keys if version is None else keys - {"releases"}), document.keys()
    assert document["info"].keys() == INFO, document["info"].keys() ^ INFO
    for file in [
        *document["urls"],
        *(file for files in document.get("releases", {}).values() for file in files),
    ]:
        assert file.keys() == FILE, file.keys() ^ FILE
    return document


class LegacyTests(SynchronousTestCase):
    """`render_legacy`."""

    @settings(max_examples=30, deadline=None, database=None)
    @given(
        projects,
        st.binary()
        | st.binary(max_size=40).map(
            lambda odd: METADATA.replace(b"things", odd).replace(b"Docs", odd)
        ),
    )
    def test_any_project_and_metadata(self, project: Project, metadata: bytes) -> None:
        """Any project with any bytes for metadata gives a whole document, or None exactly if it has
        no files.
        """
        if project.files:
            legacy(project, None, metadata)
            legacy(project, project.files[0].version, metadata)
        else:
            self.assertIsNone(render_legacy(project, None, metadata, base_url="https://host"))

    def test_hostile_metadata(self) -> None:
        """Broken encodings, multipart bodies, NULs and doubled fields are no error."""
        for metadata in (
            b"Summary: \xff\xfe\nAuthor: =?utf-8?q?=ff?=\n",
            b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\nA\n--x--\n",
            (
                b"Name: a\nName: b\nSummary: \x00\nProject-URL: no comma\nProject-URL: "
                b",\nProject-URL: a,b\nProject-URL: a,c\n"
            ),
            b"Description: x\n\nand a body\xff",
            b"Classifier: \xe2\x82\n" * 100,
        ):
            legacy(a_project(a_file()), None, metadata)


class ReleaseTests(SynchronousTestCase):
    """`releases`, `choose_release` and `describing_file`."""

    def choose(self, *versions: str, yanked: tuple[str, ...] = ()) -> str | None:
        """The newest of releases of one file each."""
        made = (a_file(f"demo-{v}.tar.gz", v, yanked="" if v in yanked else None) for v in versions)
        return choose_release(a_project(*made))

    def test_describing_file(self) -> None:
        """A wheel's metadata goes before an sdist's; without stored metadata there is no file to
        read.
        """
        sdist = a_file("demo-1.0.tar.gz", metadata_sha256="e" * 64)
        bare = a_file("demo-1.0-cp39-cp39-any.whl")
        wheel = a_file("demo-1.0.0-py3-none-any.whl", "1.0.0", metadata_sha256="f" * 64)
        expected: list[tuple[tuple[File, ...], File | None]] = [
            ((sdist, bare, wheel), wheel),
            ((sdist, bare), sdist),
            ((bare,), None),
        ]
        for held, file in expected:
            self.assertEqual(describing_file(a_project(*held), "1.0"), file)
        self.assertIsNone(describing_file(a_project(wheel), "2.0"))

    @settings(max_examples=30, deadline=None, database=None)
    @given(projects)
    def test_every_file_is_in_one_release(self, project: Project) -> None:
        """Releases divide the files, in order, and each is found under the version of each of its
        files.
        """
        found = releases(project)
        self.assertEqual([file for release in found for file in release.files], list(project.files))
        for release in found:
            for file in release.files:
                self.assertEqual(choose_release(project, file.version), release.version)
