"""Parsing of what clients send in a confined child process, so that a costly text costs nobody else
anything.
"""
