"""The result of merging a dump of pypicloud's users into existing accounts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import frozen

from pypid.core.accounts.acl_dump import Oddity
from pypid.core.accounts.rights import Right

MOST_NAMED = 20
"""Maximum number of members named in one line."""


@frozen(kw_only=True)
class Merged:
    """The result of taking over a dump: how much of it was new."""

    users: tuple[str, ...] = ()
    """Users of the dump who had no account here."""
    there: int = 0
    """Number of users who had an account, which is unchanged."""
    groups: int = 0
    members: int = 0
    rights: int = 0
    weaker: tuple[str, ...] = ()
    """Users who are administrators or can log in according to the dump, but not here."""
    other: tuple[str, ...] = ()
    """Users who can do more here than in the dump."""
    stronger: tuple[Right, ...] = ()
    """Rights of the dump that are greater here."""
    wider: tuple[Oddity, ...] = ()
    """Oddities for users or groups that gain rights because a name here and a name in the dump are
    now one.
    """

    @property
    def changed(self) -> bool:
        """Whether the merge changed anything."""
        return bool(self.users or self.groups or self.members or self.rights)

    def oddities(self) -> Iterator[Oddity]:
        """Yield an oddity for each thing that differs from the dump after the merge."""
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
            holder = f"{right.whom.value} {right.name}".strip()
            yield Oddity(
                f"{holder} may read {right.project} by the dump",
                "it may write it here, and that stays so",
            )
        yield from self.wider


def grown(group: str, members: Iterable[str]) -> Oddity:
    """Return the oddity for users who are in the group here but not in the dump, which grants the
    group rights.
    """
    done = (
        "they may do here what the dump gives to the group; take them out of it if that is not "
        "meant"
    )
    return Oddity(
        f"{_some(members)} in the group {group!r} here, and not by the dump", done, wider=True
    )


def entered(group: str, members: Iterable[str]) -> Oddity:
    """Return the oddity for users whom the dump adds to a group that has rights here which the dump
    does not grant.
    """
    done = (
        "they may do now what is given to the group here; take them out of it if that is not meant"
    )
    return Oddity(
        f"{_some(members)} in the group {group!r} by the dump, and not here", done, wider=True
    )


def taken_up(name: str) -> Oddity:
    """Return the oddity for a new account whose name had rights here before the account existed."""
    done = "the account has that now, too; take it away if it was meant for another person"
    return Oddity(
        f"the name {name!r} was given something here before it had an account", done, wider=True
    )


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - MOST_NAMED} more" if listed[MOST_NAMED:] else ""
    shown = " ".join(listed[:MOST_NAMED]) or "no users"
    return f"{shown}{more} {'is' if len(listed) == 1 else 'are'}"
