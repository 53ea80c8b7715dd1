"""The history of the index: as-of views."""
