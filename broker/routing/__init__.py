"""Routes: files that say which event goes where, checked at load, pure at run time. Nothing is sent here."""
