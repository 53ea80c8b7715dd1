"""Advisories below a named index: those of the files that it serves, as far as the user may read
them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.distributions import wheel, wheel_filename
from tests.web.advised import advise, advisory
from tests.web.api.test_indexes import ALICE, IndexesCase

FOUND = (
    advisory("PYSEC-1", ("spam", "0", "1.5")),
    advisory("PYSEC-2", ("spam", "2", None)),
    advisory("PYSEC-4", ("eggs", "0", None)),
    advisory("PYSEC-5", ("ham", "0", "5")),
)
OWN = (advisory("ACME-3", ("hush", "0", None)),)


class IndexAdvisoriesTests(IndexesCase):
    """An index `secret` that alice alone may use, and two above it and the default index."""

    def setUp(self) -> None:
        super().setUp()
        advise(self.pypid, Path(self.mktemp()), FOUND, OWN)
        self.have_index("secret", bases="none", **ALICE)
        self.have_index("team", bases="secret default", write="alice")
        self.have_index("merging", bases="secret default", write="alice", merge="*")
        for index, name, version in (
            ("secret", "hush", "1.0"),
            ("secret", "ham", "7.0"),
            ("secret", "eggs", "3.0"),
            ("team", "spam", "1.0"),
            ("merging", "eggs", "1.0"),
        ):
            data, target = wheel(name, version), f"/{index}/legacy/"
            filename = wheel_filename(name, version)
            self.published(self.publish(filename, data, target=target, user="alice"))
        for name, version in (("spam", "2.0"), ("ham", "1.0"), ("eggs", "2.0")):
            self.have_wheel(name, version)

    def listed(self, prefix: str, user: str | None) -> dict[str, list[str]]:
        """The versions that an advisory hits, by its id."""
        answer = self.pypid.api("GET", f"{prefix}/api/advisories", user=user)
        self.assertEqual(answer.status, 200, answer)
        lines: list[dict[str, Any]] = answer.json["advisories"]
        return {line["id"]: line["versions"] for line in lines}

    def test_those_of_the_files_that_the_index_serves(self) -> None:
        """A project of the index hides that of its bases; what a user may not read is in no
        line.
        """
        eggs = {"PYSEC-4": ["2.0"]}
        merged = {"PYSEC-2": ["2.0"], "PYSEC-5": ["1.0"]}
        for prefix, user, expected in (
            ("", None, {"PYSEC-2": ["2.0"], "PYSEC-5": ["1.0"], **eggs}),
            ("/secret", "alice", {"ACME-3": ["1.0"], "PYSEC-4": ["3.0"]}),
            ("/team", "alice", {"PYSEC-1": ["1.0"], "ACME-3": ["1.0"], "PYSEC-4": ["3.0"]}),
            ("/team", "bob", {"PYSEC-1": ["1.0"]}),
            ("/team", None, {"PYSEC-1": ["1.0"]}),
            ("/merging", "alice", {**merged, "PYSEC-4": ["1.0", "3.0", "2.0"], "ACME-3": ["1.0"]}),
            ("/merging", "ada", {**merged, "PYSEC-4": ["1.0", "3.0", "2.0"], "ACME-3": ["1.0"]}),
            ("/merging", "bob", {**merged, "PYSEC-4": ["1.0", "2.0"]}),
            ("/merging", None, {**merged, "PYSEC-4": ["1.0", "2.0"]}),
        ):
            self.assertEqual(self.listed(prefix, user), expected, (prefix, user))

    def test_osv(self) -> None:
        """The API of OSV tells of no project of a base that the user may not read."""
        for user, count in (("alice", 1), ("bob", 0), (None, 0)):
            for prefix in ("/team", "/merging"):
                query = {"package": {"name": "hush", "ecosystem": "PyPI"}, "version": "1.0"}
                answer = self.pypid.api("POST", f"{prefix}/osv/v1/query", query, user=user)
                self.assertEqual(answer.status, 200, answer)
                self.assertEqual(len(answer.json.get("vulns", [])), count, (prefix, user))
