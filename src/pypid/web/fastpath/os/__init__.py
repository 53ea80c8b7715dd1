"""The fast path's code close to the operating system: epoll, sockets, OpenSSL.

It uses private names of Twisted and pyOpenSSL; no other module of the fast path does. Each module
lists the names that it needs, and `availability` decides whether the fast path may be used.
"""
