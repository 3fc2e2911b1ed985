"""`broker tap`: a live look at what passes, by following the journal from outside the broker.

It changes nothing but the audit, which says that somebody looked.
"""
