"""The gauntlet: kills, failing system calls, bad upstream pages and requests of everybody, counted
by kind.

``make gauntlet`` runs all of it (`tests.live.gauntlet.__main__`); ``make live`` runs a short form
of each kind.
"""
