"""The document of a devpi export: what is read of it, and that no document breaks the reader."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.devpi import DevpiExport, DevpiFile, DevpiIndex, read_export, safe_path
from pypid.core.errors import BadRequest

ARGON2 = "$argon2id$v=19$m=65536,t=3,p=4$EGLMGSOk1LrXujemlLI2Zg$Lqj7FvjZaJweBgOs4LNCY9YUckQHSVEp4"
SHA256 = "86a9e0e58a3601ec25437ad6c073f27bc43f27be8a1ea645b47f2ff6df93b6df"
PATH = "alice/prod/acme-app/1.1/acme_app-1.1-py3-none-any.whl"
FILE: dict[str, Any] = {
    "version": "1.1",
    "entrymapping": {
        "last_modified": "Mon, 23 Nov 2026 09:22:44 GMT",
        "hash_spec": f"sha256={SHA256}",
        "hashes": {"sha256": SHA256},
        "project": "acme-app",
        "version": "1.1",
    },
    "log": [
        {
            "what": "upload",
            "who": "alice",
            "when": [2026, 11, 23, 9, 22, 43],
            "dst": "alice/staging",
        },
        {
            "what": "push",
            "who": "bob",
            "when": [2026, 11, 23, 10, 0, 0],
            "src": "alice/staging",
            "dst": "alice/prod",
        },
    ],
    "type": "releasefile",
    "projectname": "acme-app",
    "relpath": PATH,
}
"""A file that was uploaded to one index and pushed to another, as devpi-server 6.20 exports it."""
CONFIG: dict[str, Any] = {
    "acl_upload": ["alice", ":release"],
    "volatile": False,
    "bases": ["root/pypi"],
    "mirror_whitelist": [],
    "mirror_whitelist_inheritance": "intersection",
    "acl_toxresult_upload": [":ANONYMOUS:"],
    "type": "stage",
}
PROJECTS = {"acme-app": {"1.1": {"name": "acme_app", "version": "1.1", "description": "x" * 99}}}
MIRROR = {"type": "mirror", "volatile": False, "mirror_url": "https://pypi.org/simple/"}
REAL: dict[str, Any] = {
    "users": {
        "root": {"pwhash": ARGON2, "created": "2026-11-23T09:22:37Z", "username": "root"},
        "alice": {"pwhash": ARGON2, "username": "alice", "email": "alice@example.org"},
    },
    "indexes": {
        "root/pypi": {"indexconfig": MIRROR},
        "alice/prod": {"indexconfig": CONFIG, "projects": PROJECTS, "files": [FILE]},
    },
    "dumpversion": "2",
    "pythonversion": [3, 11, 7, "final", 0],
    "devpi_server": "6.20.3",
}
"""As devpi-server 6.20 writes it, shortened."""


def exported(**changes: Any) -> DevpiExport:
    """The export, with other values for some keys."""
    return read_export(json.dumps({**REAL, **changes}).encode())


def index_with(*files: Any, projects: Any = PROJECTS, **config: Any) -> DevpiIndex:
    """An index with these files and settings."""
    document = {"indexconfig": {**CONFIG, **config}, "projects": projects, "files": list(files)}
    (index,) = exported(indexes={"alice/prod": document}).indexes
    return index


class ReadTests(SynchronousTestCase):
    """What is read."""

    def test_real_document(self) -> None:
        """Users with hashes, indexes with settings, files with hash, uploader and time."""
        export = exported()
        self.assertEqual([user.name for user in export.users], ["alice", "root"])
        self.assertEqual(export.users[0].hash, ARGON2)
        self.assertNotIn("argon2", repr(export))
        prod, mirror = export.indexes
        self.assertEqual(
            (prod.name, prod.kind, prod.bases, prod.volatile, prod.acl_upload),
            ("alice/prod", "stage", ("root/pypi",), False, ("alice", ":release")),
        )
        self.assertEqual((mirror.kind, mirror.mirror_url), ("mirror", MIRROR["mirror_url"]))
        self.assertEqual((prod.bad_paths, prod.empty_releases, prod.other), ((), (), ()))
        self.assertEqual(
            prod.files,
            (
                DevpiFile(
                    path=tuple(PATH.split("/")),
                    project="acme-app",
                    sha256=SHA256,
                    uploaded=datetime(2026, 11, 23, 9, 22, 43, tzinfo=UTC),
                    uploader="alice",
                ),
            ),
        )

    def test_password_with_a_salt_of_its_own(self) -> None:
        """It was hashed by devpi-server 4 or older: pypid cannot verify it."""
        users = {"ada": {"pwhash": "abc", "pwsalt": "def"}, "bob": {}}
        self.assertEqual([user.hash for user in exported(users=users).users], ["", ""])


class HostileTests(SynchronousTestCase):
    """Documents that devpi-server did not write."""

    def test_paths_out_of_the_folder(self) -> None:
        """Each is refused and named; the other files are read."""
        bad = ["../x", "/etc/passwd", "a//b", "a/./b", "a/..", "", "a\\b", "a/\0", "a/" + "b" * 256]
        index = index_with(FILE, *({**FILE, "relpath": path} for path in bad))
        self.assertEqual(index.bad_paths, tuple(bad))
        self.assertEqual(len(index.files), 1)

    def test_what_is_no_export(self) -> None:
        """A text says so, and quotes no password hash."""
        cut = json.dumps(REAL).encode()[:-40]
        wrong = {**REAL, "users": {"ada": {"pwhash": [ARGON2]}}}
        for data in (b"", b"[]", b"{}", b"\xff", cut, b"[" * 100_000, json.dumps(wrong).encode()):
            error = self.assertRaises(BadRequest, read_export, data)
            self.assertIn("dataindex.json", str(error))
            self.assertNotIn("argon2", str(error))

    def test_other_format_version(self) -> None:
        """A newer format is refused as a whole: its meaning is unknown."""
        for version in ("3", 3, None, {}, "x" * 9999):
            error = self.assertRaises(BadRequest, exported, dumpversion=version)
            self.assertLess(len(str(error)), 400)
        self.assertEqual(exported(dumpversion=1).indexes, exported().indexes)

    def test_index_without_a_user(self) -> None:
        """Its URLs could not be redirected: the document is refused."""
        for name in ("alice", "a/b/c", "a /b", "", "/", "a" * 999):
            document = {name: {"indexconfig": CONFIG}}
            self.assertRaises(BadRequest, exported, indexes=document)

    JSON = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=8,
    )

    @given(st.sampled_from(sorted(CONFIG)), JSON)
    def test_any_value_of_a_setting(self, key: str, value: Any) -> None:
        """It is read as what it can be, or as nothing."""
        index_with(FILE, **{key: value})

    @given(st.sampled_from(sorted(FILE)), JSON)
    def test_any_value_of_a_file(self, key: str, value: Any) -> None:
        """The document is read, or refused as a whole."""
        with contextlib.suppress(BadRequest):
            index_with({**FILE, key: value})

    @given(st.text(max_size=40))
    def test_safe_path_stays_inside(self, text: str) -> None:
        """No accepted segment leads up, is absolute or empty."""
        for part in safe_path(text) or ():
            self.assertNotIn(part, ("", ".", ".."))
            self.assertNotIn("/", part)
            self.assertNotIn("\0", part)
