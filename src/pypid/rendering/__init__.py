"""READMEs as HTML that can do no harm: made in a child process, bounded in time and memory, and
looked at by nobody else.

`readmes` is what pypid itself imports, and `program` what the child runs. Why it is so:
``docs/decisions/0026``.
"""
