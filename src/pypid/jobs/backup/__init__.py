"""Backup of the state folder's records: encrypted copies in the bucket, so that the machine is
disposable.

`records` names the records, `sealing` encrypts them, `marker` remembers what the bucket has,
`copies` does the work.
"""
