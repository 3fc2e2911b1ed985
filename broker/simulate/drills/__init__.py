"""Drills: what goes wrong with identity in a hospital, played against a running broker, and what must be true after it."""
