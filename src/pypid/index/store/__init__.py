"""Records in the storage: reading, changing, checking and reconciling them."""
