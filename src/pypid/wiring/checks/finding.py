"""A finding about a key of the configuration, and the messages of errors as findings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from attrs import frozen

from pypid.core.errors import CannotStart

_KEY_IN_FRONT = re.compile(r"\A\[[a-z]+\] [a-z_]+:? (?!=)")


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
    """Yield a problem with the key if `attempt` raises `CannotStart`."""
    try:
        attempt()
    except CannotStart as error:
        yield ConfigFinding(section, key, _KEY_IN_FRONT.sub("", str(error)))
