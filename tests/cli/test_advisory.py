"""advisory: what it prints, its reports, and its exit status."""

from __future__ import annotations

import json
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

from pypid.core.accounts.rights import DownloadEntry
from tests.cli.commands import CommandCase
from tests.distributions import wheel, wheel_filename
from tests.web.advised import advise, advisory
from tests.web.full_app import basic

FORMULA = advisory(
    "ACME-1",
    ("ham", "0", None),
    summary='=HYPERLINK("https://x.example"),\x1b[31m',
    database_specific={"severity": "LOW"},
)
HIGH = advisory(
    "PYSEC-1",
    ("spam", "0", "1.5"),
    aliases=["CVE-1", "GHSA-1"],
    database_specific={"severity": "HIGH"},
)
MALWARE = advisory("MAL-1", ("ham", "0", None))


class AdvisoryTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        for name in ("ham", "spam"):
            filename, data = wheel_filename(name, "1.0"), wheel(name, "1.0")
            target = f"/packages/py3/{name[0]}/{name}/{filename}"
            put = self.pypid.ask("PUT", target, basic("alice"), body=data)
            self.assertEqual(put.status, 200)
        advise(self.pypid, Path(self.mktemp()), (HIGH, MALWARE), (FORMULA,))
        entry = DownloadEntry(
            when=self.pypid.world.now() - timedelta(days=1),
            sha256=sha256(data).hexdigest(),
            project="spam",
            filename=filename,
            who="bob",
        )
        self.people.downloads.note(entry)

    def test_sarif(self) -> None:
        """A rule for each advisory, and a result for each project that it hits."""
        log = json.loads(self.prints("advisory list --sarif"))
        self.assertEqual(log["version"], "2.1.0")
        [run] = log["runs"]
        rules = run["tool"]["driver"]["rules"]
        self.assertEqual([rule["id"] for rule in rules], ["MAL-1", "PYSEC-1", "ACME-1"])
        for result in run["results"]:
            self.assertEqual(rules[result["ruleIndex"]]["id"], result["ruleId"])
        high = run["results"][1]
        self.assertEqual(high["level"], "error")
        self.assertIn("(fixed in 1.5)", high["message"]["text"])
        self.assertEqual(
            high["locations"][0]["logicalLocations"][0]["fullyQualifiedName"], "spam==1.0"
        )

    def test_check(self) -> None:
        """Findings are named, and make the exit status 1."""
        lines = "spam==1.0\nham==2.0\neggs>=1\n"
        path = Path(self.mktemp())
        path.write_text(lines)
        status, out, _ = self.run_command("advisory check", str(path))
        self.assertEqual(status, 1)
        for text in (
            "spam 1.0: vulnerable, high: PYSEC-1 Summary of PYSEC-1 (fixed in 1.5)",
            "ham 2.0: gone: This index does not have this release.",
            "ham 2.0: malware: MAL-1",
            "not checked: eggs>=1: it names no exact version",
            "2 releases checked: 2 with findings, 1 without attestations.",
        ):
            self.assertIn(text, out)
        advise(self.pypid, Path(self.mktemp()), ())
        path.write_text("spam==1")
        self.assertIn("1 release checked: 0 with", self.prints("advisory check", str(path)))
        path.write_text("spam>=1")
        status, out, _ = self.run_command("advisory check", str(path))
        self.assertEqual((status, "0 releases checked" in out), (1, True))
        path.write_text("# nothing")
        self.assertIn("0 releases checked", self.prints("advisory check", str(path)))
