"""The bus: canonical events as CloudEvents for whoever listens. It carries; the journal is the truth (invariant 6)."""
