"""Drills: what goes wrong with identity in a hospital, against a running broker, and what must be true after it."""
