"""The shared catalog in a database: SQLite for the processes of one machine, PostgreSQL for several
machines.
"""

from pypid.catalog.sql.engines import open as open
