"""Log lines: one event, one line (or indented ones), whatever somebody puts into it."""

import io
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.python import log as old_log
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pypid.daemon import logs
from pypid.web.http.access_log import AccessLogEntry

ENTRY = AccessLogEntry(
    time="then", client="192.0.2.1", user="a\nb", method="GET", path="/\x1b[2J", protocol="HTTP/1.1",
    status=200, size=3, milliseconds=1.5, agent='"\u2028',
)  # fmt: skip


def written(form: str, level: str = "info", **event: Any) -> str:
    """What an observer writes for an event."""
    stream = io.StringIO()
    given = {
        "log_time": 0.0,
        "log_level": LogLevel.info,
        "log_namespace": "pypid.test",
        "log_format": "{text}",
        **event,
    }
    logs.observer(level, form, stream)(given)
    return stream.getvalue()


class TextTests(SynchronousTestCase):
    @settings(max_examples=100, deadline=None, database=None)
    @given(st.text())
    def test_nobody_forges_lines(self, text: str) -> None:
        """Each line after the first is indented; nothing unprintable is in them, and all can be
        encoded.
        """
        for form in "text", "json":
            lines = written(form, text=text, who=text).splitlines(keepends=True)
            for line in lines:
                self.assertTrue(line.endswith("\n"))
                self.assertTrue(line[:-1].replace("\t", "").isprintable(), line)
                line.encode("utf-8")
            self.assertTrue(all(line.startswith("    ") for line in lines[1:]))

    def test_escapes(self) -> None:
        """What moves a terminal's cursor is shown by its number; letters of any language, and tabs,
        are not.
        """
        said = written("text", text="a\x1b[31m\rb\x85\u2028\udc80\tk\u00e4se")
        self.assertTrue(said.endswith("a\\x1b[31m\\x0db\\x85\\u2028\\udc80\tk\u00e4se\n"), said)


class JsonTests(SynchronousTestCase):
    def test_access(self) -> None:
        """An answer is there with its fields, and no message."""
        document = json.loads(written("json", text="", access=ENTRY))
        self.assertEqual(
            (document["user"], document["path"], document["status"]), ("a\nb", "/\x1b[2J", 200)
        )
        self.assertNotIn("message", document)
        self.assertEqual(document["time"], "1970-01-01T00:00:00.000Z")


class LevelTests(SynchronousTestCase):
    def test_levels(self) -> None:
        """What is less grave than the level is not written."""
        levels = ["debug", "info", "warn", "error", "critical"]
        for least in levels:
            seen = [
                level
                for level in levels
                if written("text", least, text="x", log_level=LogLevel.levelWithName(level))
            ]
            self.assertEqual(seen, levels[levels.index(least) :])

    def test_twisted_is_quiet(self) -> None:
        """Twisted's old log tells of each port; at info that is not written, its errors are, and
        debug shows all.
        """
        for level, said in ("info", ["boom"]), ("debug", ["Site starting on 1", "boom"]):
            stream = io.StringIO()
            publisher = LogPublisher(logs.observer(level, "text", stream))
            old = old_log.LogPublisher(publisher, publisher)
            old.msg("Site starting on 1")
            old.msg("boom", isError=1, why="boom", failure=_failure("boom"))
            self.assertEqual(
                [word for word in ("Site starting on 1", "boom") if word in stream.getvalue()], said
            )


def _failure(text: str = "no\x1b") -> Failure:
    try:
        raise ValueError(text)
    except ValueError:
        return Failure()


class OddTests(SynchronousTestCase):
    """Whatever is logged, a line of JSON is one object, and one that journald does not split (48
    KiB).
    """

    @settings(max_examples=60, deadline=None, database=None)
    @given(
        st.text(st.characters(), min_size=1, max_size=8), st.sampled_from([1, 2000, 9000, 40_000])
    )
    def test_any(self, text: str, times: int) -> None:
        """Any text, however long."""
        line = written("json", text=text * times, log_failure=_failure(text * times))
        self.assertEqual((line.count("\n"), line.isascii()), (1, True))
        self.assertLess(len(line), 48 << 10)
        self.assertEqual(
            set(json.loads(line)),
            {"time", "level", "source", "worker", "message", "id", "traceback"},
        )

    def test_long(self) -> None:
        """Of a long message the beginning is written, of a long traceback the end; how much is
        missing is said.
        """
        line = json.loads(
            written(
                "json", text="begin" + "x" * 100_000, log_failure=_failure("y" * 100_000 + " end")
            )
        )
        self.assertRegex(line["message"], r"^beginx+\.\.\. \(\d+ characters left out\)$")
        self.assertRegex(
            line["traceback"].rstrip("\n"), r"(?s)^\(\d+ characters left out\) \.\.\.y+ end$"
        )
        self.assertGreater(len(line["message"]), 10_000)

    def test_unformattable(self) -> None:
        """An event that cannot be formatted, and one without a time, is a line all the same."""

        class Odd:
            def __repr__(self) -> str:
                raise ValueError("no")

            __str__ = __repr__

        self.assertIn("message", json.loads(written("json", text=Odd())))
        stream = io.StringIO()
        logs.observer("info", "json", stream)(
            {"log_level": LogLevel.info, "log_namespace": "x", "log_format": "here"}
        )
        self.assertEqual(json.loads(stream.getvalue())["message"], "here")


class ThresholdTests(SynchronousTestCase):
    def written(self, threshold: logs.Threshold) -> list[str]:
        """Which levels are written."""
        stream = io.StringIO()
        log = Logger("pypid.test", observer=logs.observer(threshold, "text", stream))
        for level in LogLevel.iterconstants():
            log.emit(level, "<{name}>", name=level.name)
        return [
            level.name
            for level in LogLevel.iterconstants()
            if f"<{level.name}>" in stream.getvalue()
        ]

    def test_changes(self) -> None:
        """Another level holds at once, until there is one more; None is the one of the file."""
        threshold = logs.Threshold("warn")
        self.assertEqual(self.written(threshold), ["warn", "error", "critical"])
        for level, first in ("debug", "debug"), ("critical", "critical"), (None, "warn"):
            threshold.use(level)
            self.assertEqual(self.written(threshold)[0], first)
        self.assertEqual((threshold.configured, threshold.in_force), ("warn", "warn"))

    def test_configured(self) -> None:
        """A new level in the file takes the place of what somebody asked for before."""
        threshold = logs.Threshold("warn")
        threshold.use("debug")
        threshold.configure("error")
        self.assertEqual((threshold.configured, threshold.in_force), ("error", "error"))
        self.assertEqual(self.written(threshold), ["error", "critical"])
