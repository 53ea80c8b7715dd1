"""The status of upstream projects that an administrator sets (PEP 792)."""

from __future__ import annotations

from pypid.core.model import Status
from pypid.flow import BytesBody
from tests.web.full_app import J
from tests.web.ui.administered import HAM, AdministeredCase

STATUS = "/api/projects/ham/status"
FILE = f"/packages/ham/{HAM}"


class UpstreamStatusTests(AdministeredCase):
    """``ham`` is upstream's, and its one file is cached."""

    def setUp(self) -> None:
        super().setUp()
        assert self.pypid.app.decided is not None
        self.decided = self.pypid.app.decided

    def set_status(self, status: str, reason: str = "") -> None:
        """Set the status as the command does."""
        answer = self.pypid.api("PUT", STATUS, {"status": status, "reason": reason})
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(answer.json["status"], status)

    def status(self) -> tuple[object, int]:
        """The status on the page for installers, and the number of files."""
        page = self.pypid.get("/simple/ham/", accept=J).json
        return page["project-status"], len(page["files"])

    def test_deprecated(self) -> None:
        """A deprecation is shown in JSON, in HTML, on the site and by the API; files are served."""
        self.set_status("deprecated", "use baz")
        self.assertEqual(self.status(), ({"status": "deprecated", "reason": "use baz"}, 1))
        html = self.pypid.get("/simple/ham/", accept="text/html").text
        self.assertIn('<meta name="pypi:project-status" content="deprecated">', html)
        self.assertIn('<meta name="pypi:project-status-reason" content="use baz">', html)
        self.assertIn("use baz", self.page("/project/ham/"))
        self.assertEqual(self.pypid.get(FILE).status, 200)
        self.assertEqual(self.pypid.api("GET", "/api/projects/ham").json["status"], "deprecated")
        self.assertEqual(self.upstream.heard, ["ham", "ham"])

    def test_quarantined(self) -> None:
        """A quarantine lists no files, and each route that gives bytes answers 403 with the
        reason; lists omit the name (C123).
        """
        metadata = self.pypid.get(f"{FILE}.metadata").status
        self.assertEqual((metadata, self.pypid.get(f"/local/ham/{HAM}").status), (200, 200))
        self.set_status("quarantined", "stolen\naccount")
        self.assertEqual(self.status(), ({"status": "quarantined", "reason": "stolen account"}, 0))
        for target in (FILE, f"{FILE}.metadata"):
            answer = self.pypid.get(target)
            self.assertEqual(answer.status, 403, target)
            self.assertIn("quarantined: stolen account", answer.reason)
            self.assertIn("is quarantined: stolen account", answer.text)
        self.assertEqual(self.pypid.get(f"/local/ham/{HAM}").status, 403)
        self.assertNotIn("ham", self.pypid.get("/simple/", accept=J).text)
        self.assertNotIn("ham", self.pypid.api("GET", "/api/projects").json["projects"])
        self.assertIn("stolen account", self.page("/project/ham/-/why"))
        self.set_status("active")
        self.assertEqual(self.status(), ({"status": "active"}, 1))
        self.assertEqual(self.pypid.get(FILE).status, 200)
        self.assertIn("ham", self.pypid.get("/simple/", accept=J).text)

    def test_upstream_quarantine_stays(self) -> None:
        """No status of an administrator shows what upstream has in quarantine."""
        self.upstream.statuses["ham"] = Status.QUARANTINED
        self.pypid.clock.advance(3600)
        self.set_status_of_quarantined()
        self.assertEqual(self.status()[1], 0)
        self.assertNotEqual(self.pypid.get(FILE).status, 200)

    def set_status_of_quarantined(self) -> None:
        """Set a status; the answer is about what is known, which is not quarantined yet."""
        answer = self.pypid.api("PUT", STATUS, {"status": "active", "reason": "fine"})
        self.assertEqual(answer.status, 200)

    def test_before_anyone_asked(self) -> None:
        """A name can be put in quarantine before upstream was asked for it, and setting it does not
        ask upstream.
        """
        self.upstream.has("evil", "evil-1.0.tar.gz", b"x")
        heard = list(self.upstream.heard)
        answer = self.pypid.api(
            "PUT", "/api/projects/evil/status", {"status": "quarantined", "reason": "malware"}
        )
        self.assertEqual((answer.status, answer.json["files"]), (200, []))
        self.assertEqual(self.upstream.heard, heard)
        page = self.pypid.get("/simple/evil/", accept=J).json
        self.assertEqual((page["project-status"]["status"], page["files"]), ("quarantined", []))
        self.assertEqual(self.pypid.get("/packages/evil/evil-1.0.tar.gz").status, 403)

    def test_local_names(self) -> None:
        """The status of a local project is its own, as before; an unknown local name has none."""
        answer = self.pypid.api(
            "PUT", "/api/projects/spam/status", {"status": "archived", "reason": ""}
        )
        self.assertEqual(answer.status, 200)
        self.assertEqual(dict(self.decided.overrides.folder.all), {})

    def test_kept_in_storage(self) -> None:
        """The status is a document in the storage, and is in force after it was read again."""
        self.set_status("quarantined", "stolen")
        self.have(self.pypid.blobs.stat(".pypid/upstream-status/ham.json"))
        self.pypid.index.context.policy.restrictions.replace("status", {})
        self.assertEqual(self.status()[1], 1)
        self.decided.overrides.apply()
        self.assertEqual(self.status()[1], 0)

    def test_unreadable_document(self) -> None:
        """A status that cannot be read is a quarantine: it may have been one."""
        key = ".pypid/upstream-status/ham.json"
        self.have(self.pypid.blobs.write(key, BytesBody(b"{")))
        self.have(self.decided.overrides.folder.decisions.refresh())
        self.assertEqual(self.status()[1], 0)
        self.set_status("active")
        self.assertEqual(self.status()[1], 1)
