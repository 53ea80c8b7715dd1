"""What somebody may see of the index, written as files that any web server serves.

`seeing` says what is seen, `pages` makes it into bytes, `places` and `buckets` are where these go,
`exporter` writes in an order in which no page ever names what is not there, `publishing` keeps a
place up to date, and `once` writes one.
"""
