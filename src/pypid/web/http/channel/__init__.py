"""HTTP/1.1 connections on top of twisted.web's `HTTPChannel`, whose private names are used here.

`slow_clients` bounds the time of clients, `framing` refuses ambiguous requests, `bodies` streams
request bodies, and `start_check` proves that Twisted calls what they override.
"""
