-- Who looked at what passes, and why. Rows are added, never changed.

CREATE TABLE audit (
  id        INTEGER PRIMARY KEY,
  at        TEXT NOT NULL,                 -- ISO 8601, UTC
  who       TEXT NOT NULL,                 -- login name at the operating system
  action    TEXT NOT NULL,
  reason    TEXT NOT NULL,
  detail    TEXT NOT NULL                  -- JSON; holds no patient's value
) STRICT;
