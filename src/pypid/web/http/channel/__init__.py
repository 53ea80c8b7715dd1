"""HTTP/1.1 connections on top of twisted.web's `HTTPChannel`, whose private names are used here.

`slow_clients` bounds the time of clients, `framing` refuses ambiguous requests, `bodies` streams
request bodies, `limits` closes connections for others, and `channel` is the connection itself.
`start_check` proves that Twisted calls what they override.
"""
