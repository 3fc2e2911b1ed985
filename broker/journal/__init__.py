"""The journal: messages with verdict, answer and events (commit 1), and which of them were routed (commit 2)."""
