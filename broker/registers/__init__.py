"""The registers: patients, steps with their worklist rows, and instances. Each is a fold of the events.

Rebuilding them from the log gives the same rows (invariant 8): they read no clock and make no random keys.
"""
