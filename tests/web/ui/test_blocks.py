"""Blocks for people: created, listed, deleted."""

from __future__ import annotations

from tests.distributions import wheel_filename
from tests.web.ui.administered import NASTY, AdministeredCase

URL = "/manage/blocks"


class BlocksPageTests(AdministeredCase):
    def block(self, spec: str = "spam==1.0", reason: str = "steals tokens", **more: str) -> str:
        """Create a block; return the id."""
        answer = self.send(URL, **{"spec": spec, "reason": reason, "confirm": spec, **more})
        self.assertEqual(answer.status, 201, answer)
        ids: list[str] = [each["id"] for each in self.blocks() if each["spec"] == spec]
        return ids[0]

    def blocks(self) -> list[dict[str, str]]:
        """All blocks."""
        found: list[dict[str, str]] = self.pypid.api("GET", "/api/blocks").json["blocks"]
        return found

    def test_created(self) -> None:
        """A block withholds a file at once; it is listed with its reason, and in the audit log."""
        self.have_wheel("spam", "1.0")
        id = self.block(reason=NASTY, advisory="MAL-2026-1")
        answer = self.pypid.get(f"/packages/spam/{wheel_filename('spam', '1.0')}", user="ada")
        self.assertEqual(answer.status, 403)
        page = self.page(URL)
        for text in ("spam==1.0", NASTY, "MAL-2026-1", id, "1 block"):
            self.assertIn(text, page)
        self.assertNotIn("<script>alert", self.look(URL).text)
        self.assertEqual(
            self.peopled.done(what="block create"), [("ada", "block create", "spam==1.0")]
        )

    def test_mistakes(self) -> None:
        """What is wrong is told, with what was typed still there; nothing is blocked."""
        for fields in (
            {"spec": "spam", "reason": "bad"},
            {"spec": "spam", "reason": "bad", "confirm": "eggs"},
            {"spec": NASTY, "reason": "bad", "confirm": NASTY},
            {"spec": "spam", "reason": "", "confirm": "spam"},
            {"spec": "spam", "reason": "x" * 600, "confirm": "spam"},
            {"spec": "", "reason": "bad", "confirm": ""},
        ):
            answer = self.send(URL, **fields)
            self.assertEqual(answer.status, 400, fields)
            self.assertIn('role="alert"', answer.text)
            self.assertNotIn("<script>alert", answer.text)
        self.assertIn('value="spam"', self.send(URL, spec="spam", reason="bad").text)
        self.assertEqual(self.blocks(), [])

    def test_deleted(self) -> None:
        """A block whose id was typed is deleted; without that nothing is."""
        id = self.block()
        self.assertEqual(self.send(URL, id=id).status, 400)
        self.assertEqual(self.send(URL, id="x", confirm="x").status, 404)
        self.assertEqual(len(self.blocks()), 1)
        answer = self.send(URL, id=id, confirm=id)
        self.assertEqual(
            (answer.status, answer["location"]), (303, "../manage/blocks?done=block-deleted")
        )
        self.assertEqual(self.blocks(), [])
        self.assertEqual(
            self.peopled.done(what="block delete"), [("ada", "block delete", "spam==1.0")]
        )
