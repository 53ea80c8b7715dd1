"""``/api/projects/<project>/compare``: what differs between two releases."""

from __future__ import annotations

from typing import Any

from tests.web.full_app import Answer, Pypid, WholeCase


class CompareTests(WholeCase):
    """Releases of a project of ours."""

    def setUp(self) -> None:
        super().setUp()
        self.have_wheel(
            extra=[("Requires-Dist", "eggs>=1")],
            files={"spam/a.py": b"one\ntwo\n", "spam/b.py": b"b", "spam/c.so": b"\0"},
        )
        self.have_sdist()
        self.have_wheel(
            version="2.0",
            requires_python=">=3.9",
            extra=[("Requires-Dist", "eggs>=2"), ("Requires-Dist", "ham")],
            files={"spam/a.py": b"one\nthree\n", "spam/c.so": b"\0\1", "spam/d.py": b"d"},
        )

    def ask_for(
        self, query: str, project: str = "spam", user: str | None = None, pypid: Pypid | None = None
    ) -> Answer:
        return (pypid or self.pypid).api(
            "GET", f"/api/projects/{project}/compare?{query}", user=user
        )

    def compared(
        self, query: str = "from=1.0&to=2.0", project: str = "spam", **options: Any
    ) -> dict[str, Any]:
        answer = self.ask_for(query, project, **options)
        self.assertEqual(answer.status, 200, answer)
        found: dict[str, Any] = answer.json
        return found

    def test_everything(self) -> None:
        """Metadata, the files of each release, and what lies in the wheels of both."""
        found = self.compared()
        self.assertEqual(
            (found["name"], found["from"], found["to"], found["kind"]),
            ("spam", "1.0", "2.0", "py3-none-any"),
        )
        self.assertEqual(
            found["metadata"],
            [
                {"field": "Requires-Python", "added": [">=3.9"], "removed": [], "changed": []},
                {
                    "field": "Requires-Dist",
                    "added": ["ham"],
                    "removed": [],
                    "changed": [{"from": "eggs>=1", "to": "eggs>=2"}],
                },
            ],
        )
        self.assertEqual(
            [(pair["kind"], pair["from"], pair["to"]) for pair in found["files"]],
            [
                ("py3-none-any", "spam-1.0-py3-none-any.whl", "spam-2.0-py3-none-any.whl"),
                ("sdist", "spam-1.0.tar.gz", None),
            ],
        )
        inside = found["contents"]
        self.assertEqual(inside["added"], [{"path": "spam/d.py", "size": 1}])
        self.assertEqual(inside["removed"], [{"path": "spam/b.py", "size": 1}])
        self.assertEqual(
            [each["path"] for each in inside["changed"]],
            ["spam-*.dist-info/METADATA", "spam-*.dist-info/RECORD", "spam/a.py", "spam/c.so"],
        )
        self.assertEqual(
            (inside["same"], inside["more"], found["problem"], found["text"]), (1, 0, None, None)
        )
