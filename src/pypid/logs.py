"""Where log lines go: text or JSON lines, from a level upwards, with no secret and no line that somebody else wrote."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import IO, cast

import msgspec
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    formatEvent,
)
from zope.interface import provider

from pypid.web.accesslog import Entry


def observer(level: str, form: str, stream: IO[str]) -> ILogObserver:
    """An observer that writes what is of `level` or graver; `form` is ``text`` or ``json``."""
    writer = _json_writer(stream) if form == "json" else _text_writer(stream)
    predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName("warn" if level == "warning" else level))
    return FilteringLogObserver(writer, [predicate])


FOR_TWISTD = "pypid.logs.configured"
"""What twistd's ``--logger`` is set to: it takes the name of a function without arguments, and nothing else."""

_configured: list[ILogObserver] = []


def configure(chosen: ILogObserver) -> None:
    """Say what `configured` gives."""
    _configured[:] = [chosen]


def configured() -> ILogObserver:
    """The observer that the configuration asks for."""
    return _configured[0]


def _text_writer(stream: IO[str]) -> ILogObserver:
    @provider(ILogObserver)
    def write(event: LogEvent) -> None:
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        if text:
            level = event.get("log_level", LogLevel.info)
            head = f"{_moment(event)} {level.name:<8} {_source(event)}: "
            # what follows a line end belongs to this event: it is indented, so that nobody can forge a line
            stream.write(head + text.replace("\n", "\n    ") + "\n")
            stream.flush()

    return cast(ILogObserver, write)


def _json_writer(stream: IO[str]) -> ILogObserver:
    encoder = msgspec.json.Encoder()

    @provider(ILogObserver)
    def write(event: LogEvent) -> None:
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
        stream.write(encoder.encode(document).decode() + "\n")
        stream.flush()

    return cast(ILogObserver, write)


def _moment(event: LogEvent) -> str:
    return datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _source(event: LogEvent) -> str:
    return str(event.get("log_namespace", "-"))
