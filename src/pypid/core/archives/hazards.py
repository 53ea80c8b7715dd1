"""What of a distribution can run code, or is not readable as source: for those who approve a
project. Pure.

Names and the text of ``setup.py`` are searched; nothing is parsed as Python, since a hostile file
would decide how long that takes. The findings are hints: their absence proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import Enum

from attrs import frozen

from pypid.core.archives.contents import LONGEST_PATH, Inner, MemberListing

MOST_NAMED = 5
"""Maximum number of members named for one kind."""


class HazardKind(Enum):
    """The kinds of findings; the values are shown to users."""

    NATIVE = "native code"
    STARTUP = "code that runs at every start of Python"
    SCRIPT = "programs installed as they are"
    NETWORK = "setup.py uses the network"
    EXECUTES = "setup.py runs programs or generated code"
    SETUP = "setup.py runs when it is installed"
    UNREADABLE = "not examined"


@frozen
class Hazard:
    """One kind of finding: how many members, and the names of the first."""

    kind: HazardKind
    count: int
    names: tuple[str, ...] = ()


_NATIVE = (".so", ".pyd", ".dll", ".dylib", ".exe", ".a", ".o", ".node", ".wasm")
_VERSIONED = re.compile(r"\.so(?:\.\d+)+\Z")
_STARTUP = re.compile(r"(?:\A|/)(?:site|user)customize\.py\Z|\.pth\Z")
_SCRIPT = re.compile(r"\A[^/]+\.data/scripts/")
_NUMBER = re.compile(r"(?<!\\)\\#\d+\Z")
"""What `contents` appends to the path of a duplicate, or of a name that it has cut."""
_NETWORK = re.compile(
    r"\b(?:urllib|urllib2|urllib3|requests|httpx|aiohttp|http\.client|socket|ftplib|smtplib"
    r"|urlopen|urlretrieve|curl|wget)\b"
)
_EXECUTES = re.compile(
    r"(?<![.\w])(?:exec|eval|compile|__import__)\s*\(|\bsubprocess\b"
    r"|\bos\s*\.\s*(?:system|popen|exec\w*"
    r"|spawn\w*)\b|\bb64decode\b|\bmarshal\b|\bctypes\b"
)


def hazards_of(listing: MemberListing) -> tuple[Hazard, ...]:
    """Return what the names of the members tell, and how many members are not looked at."""
    found: dict[HazardKind, list[str]] = {kind: [] for kind in HazardKind}
    for member in listing.members:
        for kind in _kinds(member.path):
            found[kind].append(member.path)
    counts = {kind: len(names) for kind, names in found.items()}
    counts[HazardKind.UNREADABLE] += listing.more
    return tuple(
        Hazard(kind, counts[kind], tuple(found[kind][:MOST_NAMED]))
        for kind in HazardKind
        if counts[kind]
    )


def _kinds(path: str) -> Iterator[HazardKind]:
    lower = path.lower()
    if lower.endswith(_NATIVE) or _VERSIONED.search(lower):
        yield HazardKind.NATIVE
    if _STARTUP.search(lower):
        yield HazardKind.STARTUP
    if _SCRIPT.search(path):
        yield HazardKind.SCRIPT
    if _is_setup(path):
        yield HazardKind.SETUP
    if len(path) > LONGEST_PATH and _NUMBER.search(path):  # its suffix is unknown
        yield HazardKind.UNREADABLE


def _is_setup(path: str) -> bool:
    """Return whether the member is ``setup.py`` in the folder of an sdist, once it is unpacked."""
    names = [name for name in _NUMBER.sub("", path).split("/") if name not in ("", ".")]
    return len(names) == 2 and names[1] == "setup.py"


def setup_of(members: Sequence[Inner]) -> Inner | None:
    """Return the ``setup.py`` of an sdist, or None; of several, the last, which is installed."""
    return next((member for member in reversed(members) if _is_setup(member.path)), None)


def hazards_of_setup(text: str) -> tuple[Hazard, ...]:
    """Return what the words in the text of a ``setup.py`` tell; linear in its length."""
    kinds = ((HazardKind.NETWORK, _NETWORK), (HazardKind.EXECUTES, _EXECUTES))
    hazards = []
    for kind, pattern in kinds:
        words = list(dict.fromkeys(match[0] for match in pattern.finditer(text)))
        if words:
            hazards.append(Hazard(kind, len(words), tuple(words[:MOST_NAMED])))
    return tuple(hazards)
