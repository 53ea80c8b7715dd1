"""The level of the log, changed by HTTP."""

from __future__ import annotations

import io
from pathlib import Path

from twisted.logger import Logger

from pypid.daemon import logs
from pypid.web.app.app_settings import LOG_LEVEL
from tests.web.app_with_accounts import Peopled
from tests.web.full_app import Answer, WholeCase

URL = "/api/log-level"


class LogLevelTests(WholeCase):
    def setUp(self) -> None:
        super().setUp()
        self.peopled = Peopled(self.pypid, Path(self.mktemp()))
        self.threshold = self.pypid.app.log_level_control = logs.Threshold("warn")
        self.pypid.app.siblings.on(LOG_LEVEL, lambda said: self.threshold.use(said["level"]))
        self.stream = io.StringIO()
        self.log = Logger("pypid.test", observer=logs.observer(self.threshold, "text", self.stream))

    def put(self, level: str, user: str = "ada") -> Answer:
        return self.pypid.api("PUT", URL, {"level": level}, user=user)

    def test_changed(self) -> None:
        """The level is told and changed, and the log heeds it at once; `default` is what the file
        says.
        """
        self.assertEqual(
            self.pypid.get(URL, user="ada").json, {"level": "warn", "configured": "warn"}
        )
        self.log.debug("one")
        answer = self.put("debug")
        self.assertEqual(
            (answer.status, answer.json), (200, {"level": "debug", "configured": "warn"})
        )
        self.log.debug("two")
        self.assertEqual(self.put("default").json["level"], "warn")
        self.log.debug("three")
        self.assertEqual(
            [word for word in ("one", "two", "three") if word in self.stream.getvalue()], ["two"]
        )

    def test_all_workers(self) -> None:
        """All workers are told, in one message."""
        told: list[object] = []
        self.pypid.app.siblings.send = told.append
        self.put("error")
        self.put("default")
        self.assertEqual(
            told, [{"kind": LOG_LEVEL, "level": "error"}, {"kind": LOG_LEVEL, "level": None}]
        )

    def test_written_down(self) -> None:
        """It is in the audit log who changed it, from what to what."""
        self.put("debug")
        [deed] = self.peopled.deeds(what="log-level")
        self.assertEqual((deed.who, deed.subject, deed.details), ("ada", "debug", {"was": "warn"}))

    def test_refused(self) -> None:
        """Other words are refused, and so is who is no administrator."""
        for level in ("loud", "", "DEBUG", "warning"):
            self.assertEqual(self.put(level).status, 400, level)
        self.assertEqual(self.put("debug", user="alice").status, 403)
        self.assertEqual(self.threshold.in_force, "warn")

    def test_elsewhere(self) -> None:
        """Where twistd writes the log alone its level is not ours to change, and the answer says
        what to do.
        """
        self.pypid.app.log_level_control = None
        for answer in self.put("debug"), self.pypid.get(URL, user="ada"):
            self.assertEqual(answer.status, 501)
            self.assertIn("--syslog", answer.text)
