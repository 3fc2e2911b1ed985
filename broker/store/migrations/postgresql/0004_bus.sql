-- How far the event log was published on the bus.

CREATE TABLE bus_cursor (
  id        BIGINT PRIMARY KEY CHECK (id = 1),
  name      TEXT COLLATE "C" NOT NULL,      -- this journal's own name on the bus
  event     BIGINT,                         -- number of the last event that the bus confirmed; NULL: none yet
  at        TEXT COLLATE "C",               -- when that was written here
  rewinds   BIGINT NOT NULL                 -- goes up when a person sets it back: the feed reads its place anew
);
