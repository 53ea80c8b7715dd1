"""Where log lines go: text or JSON lines, from a level upwards, with no secret and no line that somebody else wrote."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol, cast

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    formatEvent,
)
from twisted.python.logfile import LogFile
from zope.interface import provider

from pypid.web.accesslog import Entry, Many

_OLD_WORLD = "log_legacy"
"""The namespace of twisted.python.log, in which Twisted tells of ports that open and close; its errors are graver than info."""


class Stream(Protocol):
    """What lines are written to: a text file, or twistd's log file."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


def observer(level: str, form: str, stream: Stream) -> ILogObserver:
    """An observer that writes what is of `level` (``warn``, for example) or graver; `form` is ``text`` or ``json``."""
    least = LogLevel.levelWithName(level)
    predicate = LogLevelFilterPredicate(defaultLogLevel=least)
    if least is LogLevel.info:
        predicate.setLogLevelForNamespace(_OLD_WORLD, LogLevel.warn)
    line = json_line if form == "json" else text_line

    @provider(ILogObserver)
    def write(event: LogEvent) -> None:
        text = line(event)
        if text:
            stream.write(text)
            stream.flush()

    return FilteringLogObserver(cast(ILogObserver, write), [predicate])


# --- with twistd ------------------------------------------------------------------------------------------------

FOR_TWISTD = "pypid.logs.configured"
"""What twistd's ``--logger`` is set to: it takes the name of a function without arguments, and nothing else."""

_configured: list[Callable[[], ILogObserver]] = []
_file: list[LogFile] = []


def heed_twistd(options: Mapping[str, Any], level: str, form: str) -> bool:
    """Make `configured` give an observer that writes where twistd's options say; False where twistd has to do it alone.

    That is with ``--logger``, with ``--syslog``, and for a daemon that would log to its lost standard output.
    """
    attached = bool(options.get("nodaemon") or options.get("debug"))
    name = options.get("logfile")
    if options.get("logger") or options.get("syslog") or (name == "-" and not attached):
        return False
    if name == "-" or (attached and not name):
        _configured[:] = [lambda: observer(level, form, sys.stdout)]
    else:
        _configured[:] = [lambda: observer(level, form, _opened(name or "twistd.log"))]
    return True


def configured() -> ILogObserver:
    """The observer for twistd, which asks for it once, before it leaves the terminal."""
    return _configured[0]()


def rotate() -> None:
    """Begin a new log file, where twistd was told to write one."""
    for file in _file:
        file.rotate()  # type: ignore[no-untyped-call]


def _opened(name: str) -> LogFile:
    """The log file as twistd makes it, which grows to a megabyte and is then put aside under a number."""
    _file[:] = [LogFile.fromFullPath(name)]  # type: ignore[no-untyped-call]
    return _file[0]


# --- lines ------------------------------------------------------------------------------------------------------


def text_line(event: LogEvent) -> str:
    """One line of an event, or more of a traceback's: what follows a line end is indented, so that nobody forges a line."""
    begin = f"{_moment(event)} {event.get('log_level', LogLevel.info).name:<8} {_source(event)}: "
    answers = event.get("answers")
    if isinstance(answers, Many):
        return "".join(answers.lines(begin, "\n"))
    entry = event.get("access")
    if isinstance(entry, Entry):
        return f"{begin}{_printable(event['line'])}\n"
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    return f"{begin}{_printable(text)}\n" if text else ""


def _printable(text: str) -> str:
    r"""Without what moves a terminal's cursor or that readers take for a line's end: ``\x1b`` for an escape."""
    if text.isprintable():
        return text
    lines = text.rstrip("\n").split("\n")
    return "\n    ".join("".join(map(_shown, line)) for line in lines)


def _shown(character: str) -> str:
    if character.isprintable() or character == "\t":
        return character
    return character.encode("ascii", "backslashreplace").decode() if character > "\x7f" else f"\\x{ord(character):02x}"


def json_line(event: LogEvent) -> str:
    """One line of ASCII: a JSON object with ``time``, ``level``, ``source``, and ``message`` or an answer's fields."""
    answers = event.get("answers")
    if isinstance(answers, Many):
        return "".join([json_line({**event, "answers": None, "access": entry}) for entry in answers.entries()])
    entry = event.get("access")
    document: dict[str, object] = {
        "time": _moment(event),
        "level": event.get("log_level", LogLevel.info).name,
        "source": _source(event),
    }
    if isinstance(entry, Entry):
        document.update(entry.fields())
    else:
        document["message"] = formatEvent(event)
    failure = event.get("log_failure")
    if failure is not None:
        document["traceback"] = failure.getTraceback()
    return json.dumps(document) + "\n"


def _moment(event: LogEvent) -> str:
    return datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _source(event: LogEvent) -> str:
    return str(event.get("log_namespace", "-"))
