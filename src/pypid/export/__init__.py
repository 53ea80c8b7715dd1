"""Export of an index, or of a list of files, as static files for any web server.

A source (`visibility`: what one user, or anonymous, may see of an index; `list_source`: a list of
files) is rendered by `pages` and `front`, and written to a place (`folder`, `buckets`). `exporter`
writes in an order in which no page ever names a missing file, `one_pass` once all that has changed.
"""
