"""The documents in the storage: layout, formats, history and upstream entries."""
