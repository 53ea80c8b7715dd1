"""Log lines: one event, one line (or indented ones), whatever somebody puts into it."""

import io
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher
from twisted.python import log as old_log
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pypid import logs
from pypid.web.accesslog import Entry

ENTRY = Entry(
    time="then", client="192.0.2.1", user="a\nb", method="GET", path="/\x1b[2J", protocol="HTTP/1.1",
    status=200, size=3, milliseconds=1.5, agent='"\u2028',
)  # fmt: skip


def written(form: str, level: str = "info", **event: Any) -> str:
    """What an observer writes for an event."""
    stream = io.StringIO()
    given = {"log_time": 0.0, "log_level": LogLevel.info, "log_namespace": "pypid.test", "log_format": "{text}", **event}
    logs.observer(level, form, stream)(given)
    return stream.getvalue()


class TextTests(SynchronousTestCase):
    def test_line(self) -> None:
        """Time in UTC, level, source, text."""
        self.assertEqual(written("text", text="hello"), "1970-01-01T00:00:00.000Z info     pypid.test: hello\n")

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.text())
    def test_nobody_forges_lines(self, text: str) -> None:
        """Each line after the first is indented; nothing unprintable is in them, and all can be encoded."""
        for form in "text", "json":
            lines = written(form, text=text, who=text).splitlines(keepends=True)
            for line in lines:
                self.assertTrue(line.endswith("\n"))
                self.assertTrue(line[:-1].replace("\t", "").isprintable(), line)
                line.encode("utf-8")
            self.assertTrue(all(line.startswith("    ") for line in lines[1:]))

    def test_escapes(self) -> None:
        """What moves a terminal's cursor is shown by its number; letters of any language, and tabs, are not."""
        said = written("text", text="a\x1b[31m\rb\x85\u2028\udc80\tk\u00e4se")
        self.assertTrue(said.endswith("a\\x1b[31m\\x0db\\x85\\u2028\\udc80\tk\u00e4se\n"), said)

    def test_traceback(self) -> None:
        """A failure's traceback follows, indented."""
        lines = written("text", text="broken", log_failure=_failure()).splitlines()
        self.assertTrue(lines[0].endswith("broken"))
        self.assertIn("    builtins.ValueError: no\\x1b", lines)

    def test_nothing(self) -> None:
        """An event without text is no line."""
        self.assertEqual(written("text", log_format=""), "")


class JsonTests(SynchronousTestCase):
    def test_line(self) -> None:
        """An object on a line of ASCII."""
        line = written("json", text="k\u00e4se\n\u2028")
        self.assertTrue(line.isascii())
        self.assertEqual(
            json.loads(line),
            {
                "time": "1970-01-01T00:00:00.000Z",
                "level": "info",
                "source": "pypid.test",
                "worker": 1,
                "message": "k\u00e4se\n\u2028",
                "id": None,
            },
        )

    def test_traceback(self) -> None:
        """A failure's traceback is a field, in the same line."""
        line = written("json", text="broken", log_failure=_failure())
        self.assertEqual(line.count("\n"), 1)
        self.assertIn("ValueError: no", json.loads(line)["traceback"])

    def test_access(self) -> None:
        """An answer is there with its fields, and no message."""
        document = json.loads(written("json", text="", access=ENTRY))
        self.assertEqual((document["user"], document["path"], document["status"]), ("a\nb", "/\x1b[2J", 200))
        self.assertNotIn("message", document)
        self.assertEqual(document["time"], "1970-01-01T00:00:00.000Z")


class LevelTests(SynchronousTestCase):
    def test_levels(self) -> None:
        """What is less grave than the level is not written."""
        levels = ["debug", "info", "warn", "error", "critical"]
        for least in levels:
            seen = [level for level in levels if written("text", least, text="x", log_level=LogLevel.levelWithName(level))]
            self.assertEqual(seen, levels[levels.index(least) :])

    def test_twisted_is_quiet(self) -> None:
        """Twisted's old log tells of each port; at info that is not written, its errors are, and debug shows all."""
        for level, said in ("info", ["boom"]), ("debug", ["Site starting on 1", "boom"]):
            stream = io.StringIO()
            publisher = LogPublisher(logs.observer(level, "text", stream))
            old = old_log.LogPublisher(publisher, publisher)
            old.msg("Site starting on 1")
            old.msg("boom", isError=1, why="boom", failure=_failure("boom"))
            self.assertEqual([word for word in ("Site starting on 1", "boom") if word in stream.getvalue()], said)

    def test_is_an_observer(self) -> None:
        """What twistd gets is what it takes."""
        self.assertTrue(ILogObserver.providedBy(logs.observer("info", "text", io.StringIO())))


class TwistdTests(SynchronousTestCase):
    def log(self, **options: Any) -> bool:
        """Begin as twistd does with these options, and log one line."""
        if not logs.heed_twistd(options, "info", "json"):
            return False
        Logger("pypid.test", observer=logs.configured()).info("here")
        return True

    def test_file(self) -> None:
        """--logfile is heeded with our format; `rotate` begins another one."""
        path = self.mktemp()
        self.assertTrue(self.log(logfile=path, nodaemon=True))
        with open(path) as file:
            self.assertEqual(json.loads(file.read())["message"], "here")
        logs.rotate()
        with open(path) as file, open(path + ".1") as older:
            self.assertEqual((file.read(), older.read().count("here")), ("", 1))

    def test_terminal(self) -> None:
        """In the foreground it is standard output, as it is when twistd asks."""
        stream = io.StringIO()
        self.patch(logs.sys, "stdout", stream)  # type: ignore[attr-defined]
        self.assertTrue(self.log(nodaemon=True))
        self.assertTrue(self.log(nodaemon=True, logfile="-"))
        self.assertEqual(stream.getvalue().count('"here"'), 2)

    def test_leaves_to_twistd(self) -> None:
        """Another logger, syslog, and a daemon's lost standard output are twistd's business."""
        for options in {"logger": "x.y"}, {"syslog": True}, {"logfile": "-"}:
            self.assertFalse(self.log(**options))


def _failure(text: str = "no\x1b") -> Failure:
    try:
        raise ValueError(text)
    except ValueError:
        return Failure()
