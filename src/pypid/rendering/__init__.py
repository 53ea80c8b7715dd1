"""READMEs as harmless HTML: rendered in a child process, bounded in time and memory.

`readmes` is what pypid itself imports, and `program` what the child runs. The reasons are in
``docs/project/decisions``.
"""
