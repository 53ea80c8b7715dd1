"""Which kept files go when there is too much of them: those that nobody wanted for longest. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pypid.index.stock import Held


def surplus(files: Sequence[Held], limit: int, target: int | None = None) -> Sequence[Held]:
    """The files to forget (`Keeper.forget`) so that no more than `limit` bytes stay, the longest unwanted first.

    Where any have to go for that, so many go that no more than `target` stay (`limit`, if it is not given). A file that alone
    has more than `limit` goes first, and nothing goes in its place.
    """
    going = [file for file in files if file.size > limit]
    others = sorted((file for file in files if file.size <= limit), key=lambda file: (file.wanted, file.project, file.filename))
    left = sum(file.size for file in others)
    enough = limit if target is None or left <= limit else target
    for file in others:
        if left <= enough:
            break
        going.append(file)
        left -= file.size
    return going
