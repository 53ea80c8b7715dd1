"""What pypid writes down can be read again, and what is damaged is said to be."""

from datetime import UTC, datetime

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import Unreadable
from pypid.core.model import File, Project, Status, StoredFile, in_order
from pypid.core.packaging.names import project_name
from pypid.core.records.documents import (
    Deleted,
    ProjectStatus,
    StorageIdentity,
    Yanked,
    dump,
    dump_project,
    dump_record,
    load,
    load_project,
    load_record,
)

SPAM = project_name("spam")
TEXT = st.text(max_size=20) | st.none()
DIGEST = st.from_regex(r"\A[0-9a-f]{64}\Z")
HEX = DIGEST | st.none()
MOMENT = st.datetimes(
    timezones=st.just(UTC), min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1)
)
FILES = st.builds(
    StoredFile,
    project=st.just(SPAM),
    filename=st.from_regex(r"\Aspam-[0-9]{1,3}\.tar\.gz\Z"),
    version=st.sampled_from(["1.0", "1.0rc1", "2", "1!3"]),
    sha256=DIGEST,
    size=st.integers(0, 1 << 40),
    uploaded=st.none() | MOMENT,
    requires_python=TEXT,
    metadata_sha256=HEX,
    yanked=TEXT,
    source=TEXT,
    key=st.text(max_size=20),
    md5=HEX,
    blake2b_256=HEX,
    uploader=TEXT,
    summary=TEXT,
    attested=st.booleans(),
)
PROJECTS = st.builds(
    Project,
    name=st.just(SPAM),
    files=st.lists(FILES, max_size=4, unique_by=lambda file: file.filename).map(
        lambda files: in_order(tuple(files))
    ),
    status=st.sampled_from(Status),
    status_reason=st.text(max_size=20),
    serial=st.integers(0, 1 << 40),
)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class RecordTests(SynchronousTestCase):
    """The record beside a file."""

    @settings(max_examples=30, deadline=None, database=None)
    @given(FILES)
    def test_round_trip(self, file: File) -> None:
        """A record holds all of a file but what changes: its yank."""
        self.assertEqual(load_record(dump_record(file), "here"), replace(file, yanked=None))

    def test_optional_keys(self) -> None:
        """What is not known is left out, never null; the format and the project stand in it."""
        file = StoredFile(
            project=SPAM,
            filename="spam-1.0.tar.gz",
            version="1.0",
            sha256="ab" * 32,
            size=3,
            key="spam/spam-1.0.tar.gz",
        )
        document = msgspec.json.decode(dump_record(file))
        self.assertEqual(
            document,
            {
                "format": 1,
                "project": "spam",
                "file": {
                    "filename": "spam-1.0.tar.gz",
                    "version": "1.0",
                    "sha256": "ab" * 32,
                    "size": 3,
                    "key": "spam/spam-1.0.tar.gz",
                },
            },
        )

    def test_refused(self) -> None:
        """Torn records, other formats and foreign JSON are said to be unreadable, with the place
        that was read.
        """
        good = dump_record(
            StoredFile(
                project=SPAM, filename="spam-1.0.tar.gz", version="1.0", sha256="", size=0, key="x"
            )
        )
        for data in (
            b"",
            good[:-9],
            b"{}",
            b"[]",
            b"\xff",
            good.replace(b'"format":1', b'"format":2'),
            good.replace(b'"spam"', b'"../spam"'),
        ):
            error = self.assertRaises(Unreadable, load_record, data, "spam/x.record.json")
            self.assertIn("spam/x.record.json", str(error))

    def test_later_keys(self) -> None:
        """A key that a later version adds is ignored."""
        good = dump_record(
            StoredFile(
                project=SPAM, filename="spam-1.0.tar.gz", version="1.0", sha256="", size=0, key="x"
            )
        )
        self.assertEqual(
            load_record(good.replace(b'{"format"', b'{"new":[1],"format"'), "here").filename,
            "spam-1.0.tar.gz",
        )


class DocumentTests(SynchronousTestCase):
    """The small documents."""

    def test_round_trips(self) -> None:
        """Each kind of document is read as it was written."""
        for document in (
            Yanked('a "b" <c>'),
            Yanked(""),
            Deleted(sha256="ab" * 32, deleted=NOW, by="alice"),
            ProjectStatus(Status.QUARANTINED, "malware"),
            StorageIdentity("abc"),
        ):
            self.assertEqual(load(type(document), dump(document), "here"), document)

    def test_refused(self) -> None:
        """A document of a later format, or of an unknown status, is unreadable."""
        self.assertRaises(Unreadable, load, Yanked, b'{"reason":"","format":2}', "here")
        self.assertRaises(Unreadable, load, ProjectStatus, b'{"status":"frozen"}', "here")


class ProjectTests(SynchronousTestCase):
    """A project as a line of a snapshot."""

    @settings(max_examples=25, deadline=None, database=None)
    @given(PROJECTS)
    def test_round_trip(self, project: Project) -> None:
        """A line holds the whole project."""
        self.assertEqual(load_project(dump_project(project)), project)

    @settings(max_examples=25, deadline=None, database=None)
    @given(
        st.binary(max_size=60)
        | PROJECTS.map(dump_project).flatmap(
            lambda line: st.integers(0, len(line)).map(lambda n: line[:n])
        )
    )
    def test_damaged(self, line: bytes) -> None:
        """A torn line is the project or is unreadable; nothing else is raised."""
        try:
            load_project(line)
        except Unreadable as error:
            self.assertIn("line", str(error))
