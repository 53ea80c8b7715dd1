"""Background jobs: cache maintenance, leases, backup, and what nodes agree on."""
