"""HTTP/1.1 connections on top of twisted.web's `HTTPChannel`, whose private names are used here.

`framing` refuses ambiguous requests and bounds the time of clients, `limits` streams request bodies
and closes connections for others, and `channel` is the connection itself.
`start_check` proves that Twisted calls what they override.
"""
