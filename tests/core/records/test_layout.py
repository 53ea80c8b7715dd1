"""Keys, and back from keys."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import StoredFile
from pypid.core.packaging.names import project_name
from pypid.core.records.layout import (
    STORAGE_IDENTITY,
    ObjectKind,
    folder,
    held_origin,
    is_only_ours,
    kept_key,
    key,
    keys_in_layouts,
    overwrite_key,
    place,
    sidecar_key,
)

SPAM = project_name("spam")
FILE_KINDS = [kind for kind in ObjectKind if kind not in (ObjectKind.PROJECT, ObjectKind.OVERWRITE)]


class PlaceTests(SynchronousTestCase):
    """`place` reads what `key` writes."""

    def test_round_trip(self) -> None:
        """Every kind of object of a file is found again by its key."""
        for filename in (
            "spam-1.0.tar.gz",
            "spam-1.0+cu118-py3-none-any.whl",
            "spam-1.0-py2.7.egg",
            "spam-1!2.zip",
        ):
            for kind in FILE_KINDS:
                found = place(key(SPAM, filename, kind))
                assert found is not None
                self.assertEqual(
                    (found.project, found.filename, found.kind), (SPAM, filename, kind)
                )

    def test_project(self) -> None:
        """The document of a project has a key that no file can have."""
        found = place(key(SPAM, "", ObjectKind.PROJECT))
        assert found is not None
        self.assertEqual(
            (found.project, found.filename, found.kind), (SPAM, "", ObjectKind.PROJECT)
        )

    def test_overwrites(self) -> None:
        """The bytes of an overwrite, and their metadata, belong to the file that they are of."""
        where = overwrite_key(SPAM, "spam-1.0.tar.gz", "ab" * 32)
        for suffix in ("", ".metadata"):
            found = place(where + suffix)
            assert found is not None
            self.assertEqual(
                (found.filename, found.kind), ("spam-1.0.tar.gz", ObjectKind.OVERWRITE)
            )

    def test_foreign(self) -> None:
        """What is not in our layout has no place: other folders, other projects' files, other
        spellings, what is ours alone.
        """
        for where in (
            "spam-1.0.tar.gz",
            "spam/1.0/spam-1.0.tar.gz",
            "spam/eggs-1.0.tar.gz",
            "Spam/spam-1.0.tar.gz",
            "spam/README",
            "spam/",
            "/spam-1.0.tar.gz",
            "../spam-1.0.tar.gz",
            STORAGE_IDENTITY,
            "",
        ):
            self.assertIsNone(place(where), where)

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.text(max_size=40) | st.text("spam/-1.0targzrecordjson", max_size=40))
    def test_anything(self, where: str) -> None:
        """Any text has a place or none, and a place lies in its project's folder."""
        found = place(where)
        if found is not None:
            self.assertTrue(where.startswith(folder(found.project)))


class MetadataKeyTests(SynchronousTestCase):
    """Metadata lies beside the bytes that it belongs to."""

    def test_keys(self) -> None:
        """Plain and adopted files have it in the project's folder; an overwrite has its own."""
        adopted = StoredFile(
            project=SPAM,
            filename="spam-1.0.tar.gz",
            version="1.0",
            sha256="ab" * 32,
            size=1,
            key="old/spam-1.0.tar.gz",
        )
        self.assertEqual(sidecar_key(adopted, ObjectKind.METADATA), "spam/spam-1.0.tar.gz.metadata")
        over = overwrite_key(SPAM, "spam-1.0.tar.gz", "cd" * 32)
        newer = StoredFile(
            project=SPAM,
            filename="spam-1.0.tar.gz",
            version="1.0",
            sha256="cd" * 32,
            size=1,
            key=over,
        )
        self.assertEqual(sidecar_key(newer, ObjectKind.METADATA), over + ".metadata")


class HeldKeyTests(SynchronousTestCase):
    """`held_origin` reads what older versions wrote."""

    def test_round_trip(self) -> None:
        """Held bytes are found again from any key that a record may name."""
        filename = "spam-1.0+cu118-py3-none-any.whl"
        for origin in (
            *keys_in_layouts(SPAM, "1.0+cu118", filename),
            overwrite_key(SPAM, filename, "ab" * 32),
            f"spam/at-{'ab' * 8}/{filename}",
            f"adopted/in/place/{filename}",
            kept_key(SPAM, filename),
        ):
            where = f".pypid/held/b1/{origin}"
            for former in ("", ".aside"):
                self.assertEqual(held_origin(where + former), origin)
            self.assertTrue(is_only_ours(where))
            self.assertIsNone(place(where))

    def test_foreign(self) -> None:
        """Documents and keys outside the layout are no held bytes."""
        for where in (
            "spam/spam-1.0.zip",
            ".pypid/held/b1",
            ".pypid/held//spam/spam-1.0.zip",
            ".pypid/held/b1/spam/spam-1.0.zip.record.json",
            ".pypid/held/b1/spam/notes.txt",
        ):
            self.assertIsNone(held_origin(where), where)
