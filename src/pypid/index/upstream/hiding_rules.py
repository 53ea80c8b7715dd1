"""Why an upstream file is not available here: the rule that hides it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import evolve, frozen

from pypid.core.errors import NoSuchProject, PypidError
from pypid.core.model import File, Project
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import hidden, listed, silence
from pypid.index.index import Index


@frozen
class Hiding:
    """Files that a rule hides, and the rule in words."""

    files: Sequence[File]
    rule: str


@frozen
class Reasons:
    """Explains missing projects and files from what is known, without asking upstream."""

    index: Index

    async def of_nothing(self, name: ProjectName, error: PypidError) -> str:
        """Return why the project was not found; `error` is the result of looking it up."""
        if not isinstance(error, NoSuchProject):
            return str(error)
        why = silence(self.index.policy, name, await self.index.context.local_project(name))
        return str(error) if why is None else f"{error} Upstream was not asked: {why.value}."

    async def of_hiding(self, name: ProjectName, fits: Callable[[str], bool]) -> Hiding | None:
        """Return the upstream files with matching versions that a rule hides; None if no rule is
        the cause.
        """
        index = self.index
        ours = await index.context.local_project(name)
        if silence(index.policy, name, ours) is not None:
            return None
        state = evolve(await index.listings.known(name), reachable=True)
        taken = (
            frozenset(file.filename for file in ours.files)
            if isinstance(ours, Project)
            else frozenset[str]()
        )
        files, rule = [], ""
        for file in listed(state):
            why = hidden(index.policy, file, state, taken, index.world.now())
            if why is not None and fits(file.version):
                files.append(file)
                rule = f"{file.filename}: {why.value}"
        return Hiding(files, rule) if files else None
