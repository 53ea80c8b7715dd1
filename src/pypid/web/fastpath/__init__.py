"""The front door: answers that were given before, to the same question in the same words, as long
as nothing has changed.

Nothing is decided here. Klein's path answers whatever is asked for the first time; what it said is
kept as the bytes that it wrote, together with what they depend on, and each time before it is said
again is looked whether that is still so. A site without a front door gives the same answers, later.
"""
