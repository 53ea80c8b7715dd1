"""What everything that keeps something in a database shares: where it lies, what it says when it
fails, threads for it.
"""
