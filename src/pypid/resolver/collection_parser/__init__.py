"""Parsing of client input in a confined child process, so that a costly text slows down no other
client.
"""
