"""The keys of the catalog's tables: the name of a project, and ``<index>/<project>`` in the tables
of all named indexes and of all named upstreams.
"""

from __future__ import annotations

from pypid.core.packaging.names import ProjectName


def named_key(index: str, project: ProjectName) -> ProjectName:
    """Return the key of a project of a named index, or of a named upstream."""
    return ProjectName(f"{index}/{project}")


def project_of(key: str) -> ProjectName:
    """Return the name of the project that the key is for."""
    return ProjectName(key.rpartition("/")[2])


def index_of(key: str) -> str:
    """Return the name of the index or upstream in the key; empty for the default index."""
    return key.rpartition("/")[0]
