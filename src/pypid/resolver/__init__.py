"""Which releases requirements need: uv works it out, by asking this very index as the person who
wants to know may ask it.
"""
