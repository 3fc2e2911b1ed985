"""Delivery: lanes per destination and patient, the retry policy, and the threads that work them off."""
