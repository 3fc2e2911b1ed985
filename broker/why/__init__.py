"""`broker why`: gathers facts (`gather.py`), judges them (`judge.py`, pure, by the tables of `rules.py`)."""
