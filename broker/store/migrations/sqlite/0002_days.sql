-- Bodies and search keys in tables of one day each (broker/store/days.py), so that a day leaves by DROP TABLE;
-- lanes with parked work, replays, the operators' interventions, and the tally that reconciliation is held against.

CREATE TABLE day (
  day     TEXT PRIMARY KEY,                 -- UTC date of reception
  bodies  INTEGER NOT NULL DEFAULT 1,       -- 0: bodies and payloads were dropped, the ledger still stands
  leaving INTEGER NOT NULL DEFAULT 0        -- 1: its ledger is being deleted; its tables are gone
) STRICT, WITHOUT ROWID;

ALTER TABLE message RENAME TO message_v1;
ALTER TABLE message_key RENAME TO message_key_v1;
ALTER TABLE event RENAME TO event_v1;
ALTER TABLE delivery RENAME TO delivery_v1;
ALTER TABLE delivery_attempt RENAME TO delivery_attempt_v1;
DROP INDEX message_control;
DROP INDEX message_verdict;
DROP INDEX event_unrouted;
DROP INDEX event_message;
DROP INDEX delivery_open;
DROP INDEX delivery_event;
DROP INDEX delivery_state;

CREATE TABLE message (
  seq         INTEGER PRIMARY KEY,          -- journal order, without gaps
  id          TEXT NOT NULL UNIQUE,
  day         TEXT NOT NULL,                -- whose tables hold body and keys
  received    TEXT NOT NULL,                -- ISO 8601, UTC
  source      TEXT NOT NULL,
  site        TEXT NOT NULL,
  peer        TEXT NOT NULL,
  protocol    TEXT NOT NULL,
  type        TEXT NOT NULL,
  control_id  TEXT NOT NULL,
  sender      TEXT NOT NULL,
  digest      BLOB NOT NULL,                -- SHA-256 of the bytes
  verdict     TEXT NOT NULL,
  reason      TEXT NOT NULL,
  answer_code TEXT NOT NULL,
  answer      BLOB NOT NULL,                -- framed, as it left
  charset     TEXT NOT NULL,
  flags       TEXT NOT NULL,
  events      INTEGER NOT NULL,             -- how many events it made
  blob        TEXT NOT NULL                 -- file that holds the bytes, relative to the data folder
) STRICT;
CREATE INDEX message_type ON message (type, received);
CREATE INDEX message_received ON message (received);

CREATE TABLE event (
  seq     INTEGER PRIMARY KEY,
  id      TEXT NOT NULL UNIQUE,
  message INTEGER NOT NULL,
  type    TEXT NOT NULL,
  body    TEXT NOT NULL,                    -- broker.event.Event as JSON
  routed  TEXT                              -- version of the routes that saw it (commit 2); NULL: not yet
) STRICT;
CREATE INDEX event_unrouted ON event (seq) WHERE routed IS NULL;
CREATE INDEX event_message ON event (message);

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
  state         TEXT NOT NULL CHECK (state IN ('queued', 'delivered', 'held', 'parked', 'dropped')),
  attempt       INTEGER NOT NULL DEFAULT 0,
  refusals      INTEGER NOT NULL DEFAULT 0, -- in a row, by a destination that was reached
  failing_since TEXT,                       -- first failure of this delivery itself
  due           REAL NOT NULL,              -- seconds since the epoch
  summary       TEXT NOT NULL,
  detail        TEXT NOT NULL DEFAULT '',
  created       TEXT NOT NULL,
  finished      TEXT,
  replay_of     INTEGER                     -- the delivery that an operator had sent again
) STRICT;
CREATE INDEX delivery_open ON delivery (destination, id) WHERE state IN ('queued', 'parked');
CREATE INDEX delivery_lane ON delivery (lane, destination, id) WHERE state IN ('queued', 'parked');
CREATE INDEX delivery_stuck ON delivery (state, id) WHERE state IN ('parked', 'held');
CREATE INDEX delivery_event ON delivery (event);
CREATE INDEX delivery_day ON delivery (day);

CREATE TABLE delivery_attempt (
  delivery INTEGER NOT NULL,
  attempt  INTEGER NOT NULL,
  at       TEXT NOT NULL,
  outcome  TEXT NOT NULL,
  detail   TEXT NOT NULL,
  PRIMARY KEY (delivery, attempt)
) STRICT, WITHOUT ROWID;

-- What people did to deliveries, and why. A running broker reads what is new here.
CREATE TABLE intervention (
  id       INTEGER PRIMARY KEY,
  at       TEXT NOT NULL,
  who      TEXT NOT NULL,
  action   TEXT NOT NULL CHECK (action IN ('edit', 'release', 'drop', 'replay')),
  reason   TEXT NOT NULL,
  delivery INTEGER,                         -- of a replay: the new one
  message  INTEGER,                         -- replay of a whole message: the new one
  before   BLOB                             -- edit: the payload as it was
) STRICT;
CREATE INDEX intervention_delivery ON intervention (delivery);

-- Counted while it happens, in the same transaction: what the rows must add up to.
CREATE TABLE tally (
  day         TEXT NOT NULL,                -- of the message
  source      TEXT NOT NULL,
  route       TEXT NOT NULL,                -- '' and '': the message itself, state is its verdict
  destination TEXT NOT NULL,
  state       TEXT NOT NULL,
  number      INTEGER NOT NULL,
  PRIMARY KEY (day, source, route, destination, state)
) STRICT, WITHOUT ROWID;

-- Each change of a step asks which lists it stands on.
CREATE INDEX worklist_key ON worklist (key);

INSERT INTO message SELECT seq, id, substr(received, 1, 10), received, source, site, peer, protocol, type, control_id,
  sender, digest, verdict, reason, answer_code, coalesce(answer, x''), charset, flags,
  (SELECT count(*) FROM event_v1 WHERE event_v1.message = message_v1.seq), blob FROM message_v1;
INSERT INTO event SELECT seq, id, message, type, body, routed FROM event_v1;
INSERT INTO delivery SELECT delivery_v1.id, event, message.day, message.source, destination, kind, lane, route, place,
  version, state, attempt, 0, NULL, due, summary, detail, created, finished, NULL
  FROM delivery_v1 JOIN event ON event.seq = delivery_v1.event JOIN message ON message.seq = event.message;
INSERT INTO delivery_attempt SELECT delivery, attempt, at, outcome, detail FROM delivery_attempt_v1;
INSERT INTO tally SELECT day, source, '', '', verdict, count(*) FROM message GROUP BY day, source, verdict;
INSERT INTO tally SELECT day, source, route, destination, state, count(*) FROM delivery
  GROUP BY day, source, route, destination, state;
