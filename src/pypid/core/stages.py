"""Stages: named indexes that hold releases until all of them are published at once. Pure.

A stage has one base, into which it is published, and ends after some days. Its creator, and the
users whom the creator names, may use it. A user may publish a project in it only with the right to
publish that project in its base (`Rules.target`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from enum import Enum

from attrs import evolve

from pypid.core.configuration.value_kinds import duration_text, parse_duration
from pypid.core.errors import shortened
from pypid.core.indexes import LONGEST_STAGE, IndexSettings, index_name
from pypid.core.permissions import (
    NOBODY,
    Action,
    Identity,
    Principals,
    is_account_name,
    together,
)
from pypid.core.upstream_choice import PUBLIC

STAGE = "stage-"
"""The prefix of the name of each stage, so that a stage never takes the address of another page."""
MOST_STAGES = 20
"""Maximum number of stages of one user that are neither published nor expired."""
LIFETIME = timedelta(days=7)
SHORTEST_LIFETIME = timedelta(minutes=1)
KEPT = timedelta(days=1)
"""How long a published stage is kept, so that its publication can be repeated."""
GRACE = timedelta(hours=1)
"""How long an expired stage is kept, so that requests that began before can end."""
INTERRUPTED = timedelta(minutes=15)
"""Age after which a publication that has not ended counts as interrupted."""
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_RANDOM = 8
_BEFORE = re.compile(rf"(?:{STAGE})?(?P<rest>.*)", re.DOTALL)


class StageState(Enum):
    """The state of a stage."""

    OPEN = "open"
    PUBLISHING = "publishing"
    """It takes no files: a publication is under way, or was interrupted and can be repeated."""
    PUBLISHED = "published"
    EXPIRED = "expired"


def state_of(stage: IndexSettings, now: datetime) -> StageState:
    """Return the state of the stage."""
    if stage.publication is not None:
        is_done = stage.publication.done is not None
        return StageState.PUBLISHED if is_done else StageState.PUBLISHING
    return StageState.EXPIRED if stage.has_expired(now) else StageState.OPEN


def stage_name(text: str) -> str:
    """Return the name of a stage for the name in a request: ``stage-`` is put before it if it is
    missing. Raises `ValueError`.
    """
    found = _BEFORE.fullmatch(text)
    rest = text if found is None else found["rest"]
    if not rest:
        raise ValueError(f"a stage needs a name after {STAGE}")
    return index_name(STAGE + rest)


def random_stage_name(chance: Callable[[int], bytes]) -> str:
    """Return a name that cannot be guessed from others. `chance` returns random bytes."""
    return STAGE + "".join(_LETTERS[byte % len(_LETTERS)] for byte in chance(_RANDOM))


def lifetime_of(text: str) -> timedelta:
    """Return how long a stage exists: ``7d``, ``12h``; empty: 7 days. Raises `ValueError`."""
    if not text:
        return LIFETIME
    try:
        lifetime = parse_duration(text)
    except ValueError:
        raise ValueError(
            f"expires: {shortened(text)!r} is no duration, such as 7d or 12h"
        ) from None
    if not SHORTEST_LIFETIME <= lifetime <= LONGEST_STAGE:
        least, most = duration_text(SHORTEST_LIFETIME), duration_text(LONGEST_STAGE)
        raise ValueError(f"expires: a stage exists for {least} to {most}")
    return lifetime


def new_stage(
    name: str,
    base: str,
    owner: str,
    now: datetime,
    lifetime: timedelta = LIFETIME,
    read: Principals = NOBODY,
    write: Principals = NOBODY,
) -> IndexSettings:
    """Return the settings of a new stage of this user. `read` and `write`: who else may use it.
    Raises `ValueError`.
    """
    if base == PUBLIC:
        raise ValueError(f"base: nothing can be published in {PUBLIC!r}")
    if not is_account_name(owner):
        raise ValueError(f"{shortened(owner)!r} is not the name of a user")
    creator = Principals(users=frozenset({owner}))
    return IndexSettings(
        name=name,
        bases=(base,),
        read=together([creator, read]),
        write=together([creator, write]),
        delete=NOBODY,
        volatile=True,
        expires=(now + lifetime).replace(microsecond=0),
        stage=True,
        created=now,
        created_by=owner,
    )


def stages_of(user: str, indexes: Iterable[IndexSettings], now: datetime) -> int:
    """Return the number of stages of the user that are neither published nor expired."""
    going = (StageState.OPEN, StageState.PUBLISHING)
    return sum(
        each.stage and each.created_by == user and state_of(each, now) in going for each in indexes
    )


def may_use(stage: IndexSettings, who: Identity) -> bool:
    """Return whether the client may publish or delete the whole stage, as far as the stage itself
    is concerned: its creator, those in its `write`, and administrators.
    """
    if who.scope is not None and not who.scope.covers(Action.WRITE, None):
        return False
    user = who if not who.publisher else evolve(who, user=who.as_user)
    return who.admin or (stage.write or NOBODY).include(user)


def is_removable(stage: IndexSettings, now: datetime) -> bool:
    """Return whether the stage has been published, or has expired, long enough ago."""
    publication = stage.publication
    done = None if publication is None else publication.done
    if done is not None and now - done >= KEPT:
        return True
    return stage.expires is not None and now - stage.expires >= GRACE


def is_interrupted(stage: IndexSettings, now: datetime) -> bool:
    """Return whether its publication has not ended after a long time."""
    publication = stage.publication
    return (
        publication is not None
        and publication.done is None
        and now - publication.begun >= INTERRUPTED
    )
