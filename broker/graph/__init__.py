"""`broker graph`: what the configuration connects, as a value (`model.py`), as text and as a picture. Pure."""
