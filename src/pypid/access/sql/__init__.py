"""The accounts database: people, groups, rights, tokens, sessions, the audit log and downloads, in
sqlite or PostgreSQL.

Nothing here imports SQLAlchemy before a database is opened: `place`, `roll`, `threads`, `database`,
`accounts`, `people`, `journal` and `downloads` are without it, and those that need it are imported
in the thread that does the work. Why these are three databases: decision 0016.
"""
