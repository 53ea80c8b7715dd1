"""Search: an index of words, derived from the catalog and the storage, and rebuilt at will."""
