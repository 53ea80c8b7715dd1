"""Flash messages after a form was carried out: ``?done=`` and one of these words.

No other text of an address is ever shown there.
"""

from __future__ import annotations

DONE = {
    "logged-in": "You are logged in.",
    "logged-out": "You are logged out.",
}
"""The message of each word in the address. Other modules add messages when imported (`say`)."""


def say(**words: str) -> None:
    """Add messages; underscores become dashes in the address (``status_set="..."`` is
    ``?done=status-set``).
    """
    for word, text in words.items():
        DONE[word.replace("_", "-")] = text
