-- Route sets by number, what is proposed to be the next one, and the nodes that must all go over to it.

CREATE TABLE route_set (
  number    BIGINT PRIMARY KEY,           -- v1, v2 …: each that went live; a rollback is a new number
  version   TEXT COLLATE "C" NOT NULL,                 -- its hash where it went live (broker/routing/loader.py)
  body      TEXT COLLATE "C" NOT NULL,                 -- route files and code tables, as JSON (broker/routing/files.py)
  at        TEXT COLLATE "C" NOT NULL,
  who       TEXT COLLATE "C" NOT NULL,                 -- 'start': the folder differed when the broker started
  reason    TEXT COLLATE "C" NOT NULL
);

ALTER TABLE routing ADD COLUMN routes BIGINT NOT NULL DEFAULT 0;  -- number of the live route set; 0: none yet

CREATE TABLE route_proposal (
  one       BIGINT PRIMARY KEY CHECK (one = 1),
  id        TEXT COLLATE "C" NOT NULL,
  body      TEXT COLLATE "C" NOT NULL,
  until     DOUBLE PRECISION NOT NULL               -- by the store's clock: later it is as if it were not there
);

CREATE TABLE route_answer (
  proposal  TEXT COLLATE "C" NOT NULL,
  node      TEXT COLLATE "C" NOT NULL,
  version   TEXT COLLATE "C" NOT NULL,                 -- what the proposal is there
  fault     TEXT COLLATE "C" NOT NULL,                 -- why it cannot be loaded there; '': it is loaded
  PRIMARY KEY (proposal, node)
);

CREATE TABLE node (
  name      TEXT COLLATE "C" PRIMARY KEY,
  roles     TEXT COLLATE "C" NOT NULL,                 -- several with a space between them
  software  TEXT COLLATE "C" NOT NULL,
  at        DOUBLE PRECISION NOT NULL,                 -- last seen, by the store's clock
  routes    BIGINT NOT NULL,              -- the route set by which it goes; 0: none
  version   TEXT COLLATE "C" NOT NULL,                 -- its hash there
  fault     TEXT COLLATE "C" NOT NULL                  -- why it is not the live one; '': it is
);
