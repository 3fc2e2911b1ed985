"""Reads YAML files that people edit (`reading.py`) into values that know where they stand (`document.py`), and checks
them against pydantic models (`check.py`). Does not know what any file means.

Every mistake comes out as a `Fault` with file, line and column, all of them at once, and never with a value in it.
Scalars follow `broker.scalars`.
"""
