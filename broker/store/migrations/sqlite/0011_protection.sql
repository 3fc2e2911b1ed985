-- What a delivery may carry, and deliveries that policy withholds.

ALTER TABLE delivery RENAME TO delivery_before;
DROP INDEX delivery_open;
DROP INDEX delivery_lane;
DROP INDEX delivery_stuck;
DROP INDEX delivery_event;
DROP INDEX delivery_day;
DROP INDEX delivery_claim;
DROP INDEX delivery_heads;

CREATE TABLE delivery (
  id            INTEGER PRIMARY KEY,        -- lane order
  event         INTEGER NOT NULL,
  day           TEXT NOT NULL,              -- of the message: whose table holds the payload
  source        TEXT NOT NULL,              -- listener of the message
  destination   TEXT NOT NULL,
  kind          TEXT NOT NULL,
  lane          TEXT NOT NULL,
  route         TEXT NOT NULL,
  place         TEXT NOT NULL,
  version       TEXT NOT NULL,
  state         TEXT NOT NULL CHECK (state IN ('queued', 'delivered', 'held', 'parked', 'dropped', 'withheld')),
  attempt       INTEGER NOT NULL DEFAULT 0,
  refusals      INTEGER NOT NULL DEFAULT 0, -- in a row, by a destination that was reached
  failing_since TEXT,                       -- first failure of this delivery itself
  due           REAL NOT NULL,              -- seconds since the epoch
  summary       TEXT NOT NULL,
  detail        TEXT NOT NULL DEFAULT '',
  created       TEXT NOT NULL,
  finished      TEXT,
  replay_of     INTEGER,                    -- the delivery that an operator had sent again
  claim         INTEGER,                    -- term of the way that has it in hand; NULL: nobody
  purpose       TEXT NOT NULL DEFAULT ''    -- care, contact, cleared (for protected addresses too); '': not known
) STRICT;
INSERT INTO delivery (id, event, day, source, destination, kind, lane, route, place, version, state, attempt, refusals, failing_since, due,
  summary, detail, created, finished, replay_of, claim, purpose)
  SELECT id, event, day, source, destination, kind, lane, route, place, version, state, attempt, refusals, failing_since, due,
  summary, detail, created, finished, replay_of, claim, '' FROM delivery_before;
DROP TABLE delivery_before;
CREATE INDEX delivery_open ON delivery (destination, id) WHERE state IN ('queued', 'parked');
CREATE INDEX delivery_lane ON delivery (lane, destination, id) WHERE state IN ('queued', 'parked');
CREATE INDEX delivery_stuck ON delivery (state, id) WHERE state IN ('parked', 'held');
CREATE INDEX delivery_event ON delivery (event);
CREATE INDEX delivery_day ON delivery (day);
CREATE INDEX delivery_claim ON delivery (destination, lane, claim) WHERE claim IS NOT NULL;
CREATE INDEX delivery_heads ON delivery (destination, lane, id) WHERE state IN ('queued', 'parked');
