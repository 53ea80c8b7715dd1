"""A finding about a key of the configuration, and the messages of errors as findings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from attrs import frozen

from pypid.core.errors import CannotStart

_KEY_IN_FRONT = re.compile(r"\A\[(?P<section>[a-z]+)\] (?P<key>[a-z_]+):? (?!=)")


@frozen
class ConfigFinding:
    """What is wrong with the value of a key, and what to write or do. A warning does not stop a
    start.
    """

    section: str
    key: str
    message: str
    is_warning: bool = False


def refusals(section: str, key: str, attempt: Callable[[], object]) -> Iterator[ConfigFinding]:
    """Yield a problem if `attempt` raises `CannotStart`: with the key that the error begins with,
    or else with this key.
    """
    try:
        attempt()
    except CannotStart as error:
        text = str(error)
        if found := _KEY_IN_FRONT.match(text):
            section, key, text = found["section"], found["key"], text[found.end() :]
        yield ConfigFinding(section, key, text)
