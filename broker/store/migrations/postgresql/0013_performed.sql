-- What commit 1 keeps of objects whose answers depend on what came before (MPPS): gone with the message that set it.
CREATE TABLE object_state (
  uid     TEXT COLLATE "C" PRIMARY KEY,                 -- SOP Instance UID
  state   TEXT COLLATE "C" NOT NULL,
  digest  BYTEA NOT NULL,                    -- SHA-256 of the bytes that set it
  message BIGINT NOT NULL REFERENCES message (seq)
);
CREATE INDEX object_state_message ON object_state (message);

-- Modality performed procedure steps, a register like `step`: a fold of the events.
CREATE TABLE mpps (
  uid      TEXT COLLATE "C" PRIMARY KEY,                -- SOP Instance UID
  patient  TEXT COLLATE "C" NOT NULL,                   -- empty: nobody knows whose it is
  said_issuer TEXT COLLATE "C" NOT NULL,                   -- of the identifier under which it came
  said_value  TEXT COLLATE "C" NOT NULL,
  status   TEXT COLLATE "C" NOT NULL,
  aet      TEXT COLLATE "C" NOT NULL,                   -- who created it
  created  TEXT COLLATE "C" NOT NULL,                   -- ISO 8601, UTC
  body     TEXT COLLATE "C" NOT NULL,                   -- broker.event.PerformedStep as JSON, as all that came says it
  event    TEXT COLLATE "C" NOT NULL
);
CREATE INDEX mpps_patient ON mpps (patient);
CREATE INDEX mpps_said ON mpps (said_value, said_issuer);
CREATE INDEX mpps_open ON mpps (created) WHERE status = 'IN PROGRESS';

-- The scheduled steps that each performs.
CREATE TABLE mpps_step (
  mpps  TEXT COLLATE "C" NOT NULL REFERENCES mpps (uid),
  step  TEXT COLLATE "C" NOT NULL REFERENCES step (key),
  event TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (mpps, step)
);
CREATE INDEX mpps_step_step ON mpps_step (step);

-- A row that lacks something stands, HELD, with what it lacks.
ALTER TABLE worklist ADD COLUMN held TEXT COLLATE "C" NOT NULL DEFAULT '';
