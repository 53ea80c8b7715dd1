"""Names for moments: made, listed, deleted."""

from __future__ import annotations

from tests.web.ui.administered import NASTY, AdministeredCase

URL = "/manage/snapshots"


class SnapshotsTests(AdministeredCase):
    def names(self) -> list[str]:
        """Those that there are."""
        return [each["name"] for each in self.pypid.api("GET", "/api/snapshots").json["snapshots"]]

    def test_made(self) -> None:
        """One is made of now, and then listed with its index URL; it is in the audit log as a POST
        is.
        """
        answer = self.send(URL, name="release-42", note=NASTY)
        self.assertEqual(
            (answer.status, answer["location"]), (303, "../manage/snapshots?done=snapshot-made")
        )
        self.assertIn("The snapshot was created.", self.page(f"{URL}?done=snapshot-made"))
        self.assertIn("http://index.example/snapshots/release-42/simple/", self.page(URL))
        self.assertNotIn("<script>alert", self.look(URL).text)
        self.assertIn(NASTY, self.page(URL))
        self.assertEqual(
            self.peopled.done(what="snapshot create"), [("ada", "snapshot create", "release-42")]
        )

    def test_moment(self) -> None:
        """One is made of a day that is over."""
        self.assertEqual(self.send(URL, name="then", moment=" 2020-02-02 ").status, 303)
        [made] = self.pypid.api("GET", "/api/snapshots").json["snapshots"]
        self.assertEqual(made["moment"], "2020-02-03T00:00:00Z")

    def test_mistakes(self) -> None:
        """What is wrong is told, with what was typed still there; nothing is made."""
        self.send(URL, name="taken")
        for fields in (
            {"name": "taken"},
            {"name": NASTY},
            {"name": ""},
            {"name": "x", "moment": "tomorrow"},
            {"name": "x", "moment": "2999-01-01"},
            {"name": "x", "note": "n" * 600},
        ):
            answer = self.send(URL, **fields)
            self.assertEqual(answer.status, 400, fields)
            self.assertIn('role="alert"', answer.text)
            self.assertNotIn("<script>alert", answer.text)
        self.assertIn('value="2999-01-01"', self.send(URL, name="x", moment="2999-01-01").text)
        self.assertEqual(self.names(), ["taken"])

    def test_deleted(self) -> None:
        """One is deleted whose name was typed; others, and without it, nothing is."""
        for name in ("one", "two"):
            self.send(URL, name=name)
        self.assertEqual(self.send(f"{URL}/delete", name="one", confirm="two").status, 400)
        self.assertEqual(self.send(f"{URL}/delete", name="one").status, 400)
        self.assertEqual(self.send(f"{URL}/delete", name="three", confirm="three").status, 400)
        self.assertEqual(self.names(), ["one", "two"])
        answer = self.send(f"{URL}/delete", name="one", confirm="one")
        self.assertEqual(
            (answer.status, answer["location"]),
            (303, "../../manage/snapshots?done=snapshot-deleted"),
        )
        self.assertEqual(self.names(), ["two"])
        self.assertEqual(
            self.peopled.done(what="snapshot delete"), [("ada", "snapshot delete", "one")]
        )

    def test_many(self) -> None:
        """A hundred are on a page, the newest first."""
        for number in range(103):
            self.pypid.clock.advance(1)
            self.pypid.api("POST", "/api/snapshots", {"name": f"s{number:03}"})
        self.pypid.clock.advance(10)
        first, second = self.page(URL), self.page(f"{URL}?page=2")
        self.assertIn("103 snapshots", first)
        self.assertIn("s102", first)
        self.assertNotIn("s002", first)
        self.assertIn("s002", second)
