-- How far the event log was published on the bus.

CREATE TABLE bus_cursor (
  id        INTEGER PRIMARY KEY CHECK (id = 1),
  name      TEXT NOT NULL,                  -- this journal's own name on the bus
  event     INTEGER,                        -- number of the last event that the bus confirmed; NULL: none yet
  at        TEXT,                           -- when that was written here
  rewinds   INTEGER NOT NULL                -- goes up when a person sets it back: the feed reads its place anew
) STRICT;
