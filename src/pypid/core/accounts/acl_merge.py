"""What became of a dump of pypicloud's people that was taken over beside people who were here.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import frozen

from pypid.core.accounts.acl_dump import Oddity
from pypid.core.accounts.rights import Right

MOST_NAMED = 20
"""Members in one line."""


@frozen(kw_only=True)
class Merged:
    """What became of a dump that was taken over: how much of it was new."""

    users: tuple[str, ...] = ()
    """Those who had no account here."""
    there: int = 0
    """How many had one, which stays as it is."""
    groups: int = 0
    members: int = 0
    rights: int = 0
    weaker: tuple[str, ...] = ()
    """Users who are administrators or can log in by the dump, and not here."""
    other: tuple[str, ...] = ()
    """Users who are more here than in the dump."""
    stronger: tuple[Right, ...] = ()
    """Rights of the dump that here are greater."""
    wider: tuple[Oddity, ...] = ()
    """Who gets something because a name here and a name there are one now."""

    @property
    def changed(self) -> bool:
        """Whether anything was."""
        return bool(self.users or self.groups or self.members or self.rights)

    def oddities(self) -> Iterator[Oddity]:
        """What stays otherwise than the dump has it."""
        for name in self.weaker:
            done = (
                "the account that is here stays as it is: it waits, is disabled, or is no "
                "administrator's"
            )
            yield Oddity(f"the user {name!r} may do more by the dump than here", done, grave=True)
        for name in self.other:
            yield Oddity(
                f"the user {name!r} may do more here than by the dump",
                "the account that is here stays as it is",
            )
        for right in self.stronger:
            said = f"{right.whom.value} {right.name}".strip()
            yield Oddity(
                f"{said} may read {right.project} by the dump",
                "it may write it here, and that stays so",
            )
        yield from self.wider


def grown(group: str, members: Iterable[str]) -> Oddity:
    """That these are in the group here, and not by the dump, which gives something to it."""
    done = (
        "they may do here what the dump gives to the group; take them out of it if that is not "
        "meant"
    )
    return Oddity(
        f"{_some(members)} in the group {group!r} here, and not by the dump", done, wider=True
    )


def entered(group: str, members: Iterable[str]) -> Oddity:
    """That these come into the group, which has been given something here that the dump does not
    give to it.
    """
    done = (
        "they may do now what is given to the group here; take them out of it if that is not meant"
    )
    return Oddity(
        f"{_some(members)} in the group {group!r} by the dump, and not here", done, wider=True
    )


def taken_up(name: str) -> Oddity:
    """That an account was made under a name to which something was given here before."""
    done = "the account has that now, too; take it away if it was meant for somebody else"
    return Oddity(
        f"the name {name!r} was given something here before it had an account", done, wider=True
    )


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - MOST_NAMED} more" if listed[MOST_NAMED:] else ""
    return f"{' '.join(listed[:MOST_NAMED])}{more} are" if listed[1:] else f"{listed[0]} is"
