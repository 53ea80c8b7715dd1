"""/health and /ready: what machines are told of the parts, at once and without a word too many."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from pypid.core.errors import PeopleUnknown, StorageDown
from pypid.core.packaging.names import project_name
from pypid.core.permissions import EVERYONE, Grants, cut_off
from pypid.flow.conditions import Condition
from tests.distributions import wheel, wheel_filename
from tests.web.full_app import PRIVATE, Pypid, WholeCase

WELL = {"ready": True, "access": True, "cache": True, "storage": True, "complete": True}
PATHS = ("/health", "/ready")


class ReadyTests(WholeCase):
    def setUp(self) -> None:
        super().setUp()
        self.parts = {"access": True, "cache": True, "shows": True, "storage": True}
        self.use(self.pypid)

    def use(self, pypid: Pypid) -> None:
        self.pypid = pypid
        pypid.app.condition = Condition(
            access=lambda: self.parts["access"],
            cache=lambda: self.parts["cache"],
            shows=lambda: self.parts["shows"],
            storage=lambda: self.parts["storage"],
        )

    def told(self, **expected: object) -> None:
        """Both addresses tell this; /health with 200, /ready with 503 where it is not ready."""
        document = {**WELL, **expected}
        health, ready = (self.pypid.get(path) for path in PATHS)
        is_ready = document["ready"]
        self.assertEqual((health.status, health.json), (200, {"status": "ok", **document}))
        self.assertEqual(ready.status, 200 if is_ready else 503)
        self.assertEqual(ready.json, {"status": "ok" if is_ready else "unavailable", **document})
        self.assertEqual(ready["retry-after"], None if is_ready else "5")
        for answer in health, ready:
            self.assertEqual(answer["cache-control"], "no-store")
            self.assertEqual(answer["content-type"], "application/json")

    def test_well(self) -> None:
        """All is there; that nothing was compared yet keeps nobody away, since what is asked for is
        looked up first.
        """
        self.use(Pypid(Path(self.mktemp()), compared=False))
        self.told(complete=False)
        self.have(self.pypid.index.maintenance.reconcile())
        self.told()

    def test_storage(self) -> None:
        """Without the storage no file can be read: not ready."""
        self.parts["storage"] = False
        self.told(ready=False, storage=False)

    def test_catalog(self) -> None:
        """A shared catalog that is away is told; not ready is who held what it shows
        for too long.
        """
        self.parts["cache"] = False
        self.told(cache=False)
        self.parts["shows"] = False
        self.told(ready=False, cache=False)

    def test_accounts(self) -> None:
        """Accounts that cannot be asked are told; not ready is an index that shows nothing to who
        is not logged in.
        """
        self.parts["access"] = False
        self.told(access=False)
        self.use(Pypid(Path(self.mktemp()), rules=PRIVATE))
        self.told(ready=False, access=False)

    def test_cut_off(self) -> None:
        """Not ready while other nodes may have changed rights; a project with a right is 503 for
        each request, and one without is there.
        """
        for name in ("closed", "spam"):
            self.publish(wheel_filename(name), wheel(name))
        rights = {project_name("closed"): Grants(read=EVERYONE)}
        self.pypid.app.rules = cut_off(evolve(self.pypid.app.rules, projects=rights))
        self.parts["access"] = False
        self.told(ready=False, access=False)
        file = f"/packages/closed/{wheel_filename('closed')}"
        for path in ("/simple/closed/", file, "/pypi/closed/json"):
            self.assertEqual(self.pypid.get(path).status, 503, path)
        self.assertEqual(self.pypid.get("/simple/spam/").status, 200)

    def test_closed(self) -> None:
        """Not ready while nobody knows what is hidden, or the accounts are still being fetched."""
        for why in (PeopleUnknown("the accounts database"), StorageDown("secret.example is away.")):
            self.pypid.app.closed = why
            self.told(ready=False, access=False, starting=True)

    def test_stopping(self) -> None:
        """Once pypid was asked to stop it is alive and not ready."""
        self.pypid.app.condition.stopping = True
        self.told(ready=False, stopping=True)

    def test_waits_for_nobody(self) -> None:
        """Neither asks anything: with all parts away, for good and with secrets in their errors,
        both answer at once.
        """
        self.pypid.blobs.away = StorageDown(
            "bucket at secret.example:9000 refused the password hunter2"
        )
        self.parts.update(dict.fromkeys(self.parts, False))
        self.told(ready=False, access=False, cache=False, storage=False)
        for path in PATHS:
            self.assertNotIn(b"secret", self.pypid.get(path).body)
