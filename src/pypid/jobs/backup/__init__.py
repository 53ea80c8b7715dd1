"""Backup of the state folder's records: encrypted copies in the bucket, so that the machine is
disposable.

`records` names the records and remembers what the bucket has; `copies` seals and copies them.
"""
