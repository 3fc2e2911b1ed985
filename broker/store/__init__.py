"""The database seam under journal, registers and lanes: one writer with group commit, many readers, two engines.

It knows SQL and durability, and nothing of messages, patients or routes.
"""
