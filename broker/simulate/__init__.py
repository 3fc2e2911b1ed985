"""A hospital in a box: the systems around a broker, over public protocols only. Nothing of the broker's inside is used.

What happens (`day.py`), what is said (`messages.py`) and how it is judged (`score.py`) are pure; sockets are thin.
"""
