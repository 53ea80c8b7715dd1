"""Searching: an index of words, derived from the catalog and the storage, thrown away and made anew
at will.
"""
