"""What a page says once, after a form has done something: ``?done=`` and one of these words.

Nothing else that stands in an address is ever shown there."""

from __future__ import annotations

DONE = {
    "logged-in": "You are logged in.",
    "logged-out": "You are logged out.",
}
"""By the word in the address: what was done. Rooms add theirs where they are read (`say`)."""


def say(**words: str) -> None:
    """Add messages; underscores become dashes in the address (``status_set="..."`` is
    ``?done=status-set``).
    """
    for word, text in words.items():
        DONE[word.replace("_", "-")] = text
