-- Route sets by number, what is proposed to be the next one, and the nodes that must all go over to it.

CREATE TABLE route_set (
  number    INTEGER PRIMARY KEY,           -- v1, v2 …: each that went live; a rollback is a new number
  version   TEXT NOT NULL,                 -- its hash where it went live (broker/routing/loader.py)
  body      TEXT NOT NULL,                 -- route files and code tables, as JSON (broker/routing/files.py)
  at        TEXT NOT NULL,
  who       TEXT NOT NULL,                 -- 'start': the folder differed when the broker started
  reason    TEXT NOT NULL
) STRICT;

ALTER TABLE routing ADD COLUMN routes INTEGER NOT NULL DEFAULT 0;  -- number of the live route set; 0: none yet

CREATE TABLE route_proposal (
  one       INTEGER PRIMARY KEY CHECK (one = 1),
  id        TEXT NOT NULL,
  body      TEXT NOT NULL,
  until     REAL NOT NULL                  -- by the store's clock: later it is as if it were not there
) STRICT;

CREATE TABLE route_answer (
  proposal  TEXT NOT NULL,
  node      TEXT NOT NULL,
  version   TEXT NOT NULL,                 -- what the proposal is there
  fault     TEXT NOT NULL,                 -- why it cannot be loaded there; '': it is loaded
  PRIMARY KEY (proposal, node)
) STRICT;

CREATE TABLE node (
  name      TEXT PRIMARY KEY,
  roles     TEXT NOT NULL,                 -- several with a space between them
  software  TEXT NOT NULL,
  at        REAL NOT NULL,                 -- last seen, by the store's clock
  routes    INTEGER NOT NULL,              -- the route set by which it goes; 0: none
  version   TEXT NOT NULL,                 -- its hash there
  fault     TEXT NOT NULL                  -- why it is not the live one; '': it is
) STRICT;
