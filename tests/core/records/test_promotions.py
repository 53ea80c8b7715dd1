"""The documents of promotions."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import Unreadable
from pypid.core.packaging.names import project_name
from pypid.core.records.documents import dump
from pypid.core.records.promotions import (
    PromotionDocument,
    files_of,
    id_of_key,
    load_promotion,
    open_promotion_key,
    promoted,
    promotion_id,
    promotion_key,
)
from tests.support.examples import a_file

NOW = datetime(2026, 11, 23, 12, 30, 5, tzinfo=UTC)
SPAM = project_name("spam")


class DocumentTests(SynchronousTestCase):
    """A promotion as it is stored."""

    def document(self) -> PromotionDocument:
        file = promoted(
            a_file(SPAM, "1.0"),
            ".pypid/index/staging/spam/spam-1.0.tar.gz",
        )
        id = promotion_id(NOW, bytes(8))
        return PromotionDocument(id, "staging", "default", NOW, "alice", (file,))

    def test_is_read_as_it_was_written(self) -> None:
        """Files keep their record; the yank is not part of it."""
        document = self.document()
        self.assertEqual(load_promotion(dump(document), "x"), document)
        self.assertEqual(files_of(document), [a_file(SPAM, "1.0")])

    def test_damage_is_noticed(self) -> None:
        """What cannot be read as a whole is not applied in part."""
        document = self.document()
        for data in (b"", b"{}", dump(document)[:-20], dump(replace(document, format=2))):
            self.assertRaises(Unreadable, load_promotion, data, "x")
        bad = replace(document, files=(replace(document.files[0], project="not a name!"),))
        self.assertRaises(Unreadable, files_of, bad)

    def test_keys(self) -> None:
        """The id is in both keys, and in no other."""
        id = promotion_id(NOW, b"\xff" * 8)
        self.assertEqual(id, "20261123t123005-ffffffffffffffff")
        for where in (promotion_key(id), open_promotion_key(id)):
            self.assertEqual(id_of_key(where), id)
        for where in (id, f"{promotion_key(id)}x", ".pypid/promotions/open/x.json", ""):
            self.assertIsNone(id_of_key(where))
