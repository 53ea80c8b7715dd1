"""The rules of search: queries, ranking, and the legacy search of PyPI."""
