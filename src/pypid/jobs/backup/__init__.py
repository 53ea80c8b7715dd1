"""What is of record and lies below `state`: sealed copies of it in the bucket, so that the machine
can be thrown away.

`records` names what is of record, `sealing` encrypts it, `marker` remembers what the bucket has,
`keeping` does the work.
"""
