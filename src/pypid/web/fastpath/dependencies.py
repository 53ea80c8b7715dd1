"""What routes declare about a response, so that the fast path may cache it."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from pypid.core.model import File
from pypid.core.packaging.names import ProjectName
from pypid.index.views import DIRECT, UpstreamPermission


@frozen
class ResponseDependencies:
    """The dependencies of a response, other than its request, its client, and the rules.

    The view of a `project`, or the lists of all, as far as the `permission` allows. `file` is the
    file that the response sends, for the download log; the response expires at `until`.
    """

    project: ProjectName | None
    permission: UpstreamPermission
    file: File | None = None
    until: datetime | None = None


OF_LISTS = ResponseDependencies(None, DIRECT)
"""A response that any change of any project may change."""
