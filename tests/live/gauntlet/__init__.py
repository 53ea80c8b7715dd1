"""The gauntlet: kills, failing system calls and lost accounts, counted by kind.

``make gauntlet`` runs all of it (`tests.live.gauntlet.__main__`); ``make live`` runs a short form
of each kind.
"""
