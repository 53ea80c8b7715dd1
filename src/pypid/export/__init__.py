"""Export of what one user, or anonymous, may see of the index as static files for any web server.

`visibility` computes what is seen, `pages` renders it, `targets` and `buckets` are the places it is
written to, `exporter` writes in an order in which no page ever names a missing file, `publish`
keeps a place up to date, and `one_pass` writes one once.
"""
