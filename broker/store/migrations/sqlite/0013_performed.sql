-- What commit 1 keeps of objects whose answers depend on what came before (MPPS): gone with the message that set it.
CREATE TABLE object_state (
  uid     TEXT PRIMARY KEY,                 -- SOP Instance UID
  state   TEXT NOT NULL,
  digest  BLOB NOT NULL,                    -- SHA-256 of the bytes that set it
  message INTEGER NOT NULL REFERENCES message (seq)
) STRICT;
CREATE INDEX object_state_message ON object_state (message);

-- Modality performed procedure steps, a register like `step`: a fold of the events.
CREATE TABLE mpps (
  uid      TEXT PRIMARY KEY,                -- SOP Instance UID
  patient  TEXT NOT NULL,                   -- empty: nobody knows whose it is
  said_issuer TEXT NOT NULL,                   -- of the identifier under which it came
  said_value  TEXT NOT NULL,
  status   TEXT NOT NULL,
  aet      TEXT NOT NULL,                   -- who created it
  created  TEXT NOT NULL,                   -- ISO 8601, UTC
  body     TEXT NOT NULL,                   -- broker.event.PerformedStep as JSON, as all that came says it
  event    TEXT NOT NULL
) STRICT;
CREATE INDEX mpps_patient ON mpps (patient);
CREATE INDEX mpps_said ON mpps (said_value, said_issuer);
CREATE INDEX mpps_open ON mpps (created) WHERE status = 'IN PROGRESS';

-- The scheduled steps that each performs.
CREATE TABLE mpps_step (
  mpps  TEXT NOT NULL REFERENCES mpps (uid),
  step  TEXT NOT NULL REFERENCES step (key),
  event TEXT NOT NULL,
  PRIMARY KEY (mpps, step)
) STRICT, WITHOUT ROWID;
CREATE INDEX mpps_step_step ON mpps_step (step);

-- A row that lacks something stands, HELD, with what it lacks.
ALTER TABLE worklist ADD COLUMN held TEXT NOT NULL DEFAULT '';
