"""Log output: text or JSON lines, from a level upwards, without secrets and without forged
lines.
"""

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
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    formatEvent,
)
from twisted.python.logfile import LogFile
from zope.interface import provider

from pypid import prefork
from pypid.web.http.access_log import OF_REQUEST, AccessLogEntry, Many

_log = Logger()

MESSAGE, TRACEBACK = 16 << 10, 24 << 10
"""Bytes of each in a line of JSON: journald splits lines of 48 KiB, and half a document is
unusable.
"""
_OLD_WORLD = "log_legacy"
"""The namespace of twisted.python.log, in which Twisted reports ports that open and close; its
errors are graver than info.
"""


class LogStream(Protocol):
    """The destination of lines: a text file, or twistd's log file."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


class Threshold(LogLevelFilterPredicate):
    """The level from which on lines are written. It may be changed while pypid runs; that ends with
    the process.

    `configured` is the level of ``[log] level``, `in_force` that one or the one requested since.
    """

    def __init__(self, level: str) -> None:
        super().__init__()
        self.configure(level)

    def configure(self, level: str) -> None:
        """Set the level of the file; a level requested before is dropped."""
        self.configured = level
        self.use(None)

    def use(self, level: str | None) -> None:
        """Use this level (``warn``, for example); None: the one of the file."""
        self.in_force = level or self.configured
        least = LogLevel.levelWithName(self.in_force)
        self.defaultLogLevel = least
        self.clearLogLevels()
        if least is LogLevel.info:
            self.setLogLevelForNamespace(_OLD_WORLD, LogLevel.warn)


_LAST_OF_TWISTED = "Main loop terminated."
"""A line after pypid's own last one, which says more."""


def observer(level: str | Threshold, form: str, stream: LogStream) -> ILogObserver:
    """Return an observer that writes events of `level` (``warn``, for example) or graver; `form` is
    ``text`` or ``json``.
    """
    threshold = Threshold(level) if isinstance(level, str) else level
    line = json_line if form == "json" else text_line
    _streams[:] = [stream]

    @provider(ILogObserver)
    def write(event: LogEvent) -> None:
        if event.get("log_format") == _LAST_OF_TWISTED:
            return
        text = line(event)
        if text:
            stream.write(text)
            stream.flush()

    return FilteringLogObserver(cast(ILogObserver, write), [threshold])


_streams: list[LogStream] = []


def written(lines: str) -> None:
    """Write whole lines of another worker's log to this process's log; to a log of twistd's they go
    as one message.
    """
    for stream in _streams:
        stream.write(lines)
        stream.flush()
    if not _streams:
        _log.info("{lines}", lines=lines.rstrip("\n"))


# --- with twistd ----------------------------------------------------------------------------------

FOR_TWISTD = "pypid.daemon.logs.configured"
"""The value of twistd's ``--logger``: it takes only the name of a function without arguments."""

_configured: list[Callable[[], ILogObserver]] = []
_file: list[LogFile] = []


def heed_twistd(options: Mapping[str, Any], level: str | Threshold, form: str) -> bool:
    """Make `configured` return an observer that writes where twistd's options say; return False
    where twistd has to do it alone.

    That is with ``--logger``, with ``--syslog``, and for a daemon that would log to its lost
    standard output.
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
    """Return the observer for twistd, which calls this once, before it leaves the terminal."""
    return _configured[0]()


def rotate() -> None:
    """Begin a new log file, if twistd writes one."""
    for file in _file:
        file.rotate()  # type: ignore[no-untyped-call]


def _opened(name: str) -> LogFile:
    """Return the log file as twistd makes it, which grows to a megabyte and is then renamed with a
    number.
    """
    _file[:] = [LogFile.fromFullPath(name)]  # type: ignore[no-untyped-call]
    return _file[0]


# --- lines ----------------------------------------------------------------------------------------


def text_line(event: LogEvent) -> str:
    """Return one line for an event, more with a traceback: text after a line end is indented, so
    that lines cannot be forged.

    The lines of further workers name the worker: ``pypid.daemon.daemon[w2]``.
    """
    worker = "" if prefork.number() == 1 else f"[w{prefork.number()}]"
    begin = (
        f"{_moment(event)} {event.get('log_level', LogLevel.info).name:<8} "
        f"{_source(event)}{worker}: "
    )
    answers = event.get("answers")
    if isinstance(answers, Many):
        return "".join(answers.lines(begin, "\n"))
    entry = event.get("access")
    if isinstance(entry, AccessLogEntry):
        return f"{begin}{_printable(event['line'])}\n"
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    if not text:
        return ""
    if (id := OF_REQUEST.get()) is not None:
        first, end, rest = text.partition("\n")
        text = f"{first} [request {id}]{end}{rest}"
    return f"{begin}{_printable(text)}\n"


def _printable(text: str) -> str:
    r"""Return the text without what moves a terminal's cursor or ends a line for readers: ``\x1b``
    for an escape.
    """
    if text.isprintable():
        return text
    lines = text.rstrip("\n").split("\n")
    return "\n    ".join("".join(map(_shown, line)) for line in lines)


def _shown(character: str) -> str:
    if character.isprintable() or character == "\t":
        return character
    return (
        character.encode("ascii", "backslashreplace").decode()
        if character > "\x7f"
        else f"\\x{ord(character):02x}"
    )


def json_line(event: LogEvent) -> str:
    """Return one line of ASCII: a JSON object with ``time``, ``level``, ``source``, ``worker``, and
    ``message`` or the fields of an answer.

    Also for huge or odd events: the line is shorter than what journald splits, and valid for any
    JSON parser. The fields are described in docs/operate/logging.rst; none is removed, or
    changes its meaning, without a note in the changes.
    """
    answers = event.get("answers")
    if isinstance(answers, Many):
        return "".join(
            [json_line({**event, "answers": None, "access": entry}) for entry in answers.entries()]
        )
    entry = event.get("access")
    document: dict[str, object] = {
        "time": _moment(event),
        "level": event.get("log_level", LogLevel.info).name,
        "source": _source(event),
        "worker": prefork.number(),
    }
    if isinstance(entry, AccessLogEntry):
        document.update(entry.fields())
    else:
        document["message"] = _bounded(formatEvent(event), MESSAGE)
        document["id"] = OF_REQUEST.get()
    failure = event.get("log_failure")
    if failure is not None:
        document["traceback"] = _bounded(failure.getTraceback(), TRACEBACK, keep_end=True)
    return json.dumps(document) + "\n"


def _bounded(text: str, most: int, *, keep_end: bool = False) -> str:
    """Return `text`, cut to at most `most` bytes of JSON; of a traceback the end is more useful
    than the beginning.
    """
    left = text[-most:] if keep_end else text[:most]
    while True:
        left = left.encode("utf-16", "surrogatepass").decode(
            "utf-16", "replace"
        )  # half a surrogate pair is not a character
        if (written := len(json.dumps(left))) <= most:
            break
        kept = len(left) * most // written - 1
        left = left[-kept:] if keep_end else left[:kept]
    if len(left) == len(text):
        return left
    gone = f"({len(text) - len(left)} characters left out)"
    return f"{gone} ...{left}" if keep_end else f"{left}... {gone}"


def _moment(event: LogEvent) -> str:
    return (
        datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def _source(event: LogEvent) -> str:
    return str(event.get("log_namespace", "-"))
