-- Journal: what was received, with its verdict and its answer (commit 1).
CREATE TABLE message (
  seq         INTEGER PRIMARY KEY,          -- journal order
  id          TEXT NOT NULL UNIQUE,
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
  answer      BLOB,
  charset     TEXT NOT NULL,
  flags       TEXT NOT NULL,
  body        BLOB,
  blob        TEXT NOT NULL                 -- file that holds the bytes, relative to the data folder
) STRICT;
CREATE INDEX message_control ON message (control_id, sender, source);
CREATE INDEX message_verdict ON message (source, verdict);

CREATE TABLE message_key (
  value   TEXT NOT NULL,
  kind    TEXT NOT NULL,
  message INTEGER NOT NULL REFERENCES message (seq),
  PRIMARY KEY (value, kind, message)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
  seq     INTEGER PRIMARY KEY,
  id      TEXT NOT NULL UNIQUE,
  message INTEGER NOT NULL REFERENCES message (seq),
  type    TEXT NOT NULL,
  body    TEXT NOT NULL,                    -- broker.event.Event as JSON
  routed  TEXT                              -- version of the routes that saw it (commit 2); NULL: not yet
) STRICT;
CREATE INDEX event_unrouted ON event (seq) WHERE routed IS NULL;
CREATE INDEX event_message ON event (message);

-- Lanes: what leaves, in order per destination and patient.
CREATE TABLE delivery (
  id          INTEGER PRIMARY KEY,          -- lane order
  event       INTEGER NOT NULL REFERENCES event (seq),
  destination TEXT NOT NULL,
  kind        TEXT NOT NULL,
  lane        TEXT NOT NULL,
  route       TEXT NOT NULL,
  place       TEXT NOT NULL,
  version     TEXT NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('queued', 'delivered', 'held')),
  attempt     INTEGER NOT NULL DEFAULT 0,
  due         REAL NOT NULL,                -- seconds since the epoch
  payload     BLOB NOT NULL,
  summary     TEXT NOT NULL,
  detail      TEXT NOT NULL DEFAULT '',
  answer      BLOB,
  created     TEXT NOT NULL,
  finished    TEXT
) STRICT;
CREATE INDEX delivery_open ON delivery (destination, id) WHERE state = 'queued';
CREATE INDEX delivery_event ON delivery (event);
CREATE INDEX delivery_state ON delivery (destination, state);

CREATE TABLE delivery_attempt (
  delivery INTEGER NOT NULL REFERENCES delivery (id),
  attempt  INTEGER NOT NULL,
  at       TEXT NOT NULL,
  outcome  TEXT NOT NULL,
  detail   TEXT NOT NULL,
  PRIMARY KEY (delivery, attempt)
) STRICT, WITHOUT ROWID;

-- Registers: folds of the events.
CREATE TABLE patient (
  key        TEXT PRIMARY KEY,
  body       TEXT NOT NULL,                 -- broker.event.Patient as JSON
  verified   INTEGER NOT NULL,              -- PAS has spoken
  merged_into TEXT REFERENCES patient (key),
  event      TEXT NOT NULL                  -- the event that wrote it last
) STRICT, WITHOUT ROWID;
CREATE INDEX patient_merged ON patient (merged_into) WHERE merged_into IS NOT NULL;

CREATE TABLE patient_identifier (
  value   TEXT NOT NULL,
  issuer  TEXT NOT NULL,
  patient TEXT NOT NULL REFERENCES patient (key),
  current INTEGER NOT NULL,                 -- 0: ended by a merge or an id change; leads here for ever
  PRIMARY KEY (value, issuer)
) STRICT, WITHOUT ROWID;
CREATE INDEX patient_identifier_patient ON patient_identifier (patient);

CREATE TABLE step (
  key       TEXT PRIMARY KEY,
  patient   TEXT NOT NULL REFERENCES patient (key),
  filler    TEXT NOT NULL,                  -- order numbers with their issuers, '' where there is none
  placer    TEXT NOT NULL,
  source    TEXT NOT NULL,                  -- listener and site of the order
  site      TEXT NOT NULL,
  status    TEXT NOT NULL,
  body      TEXT NOT NULL,                  -- broker.event.Step as JSON
  rest      TEXT NOT NULL,                  -- broker.event.EventData as JSON: order and encounter of the step
  accession TEXT NOT NULL,
  study_uid TEXT NOT NULL,
  event     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX step_patient ON step (patient);
CREATE INDEX step_filler ON step (filler);
CREATE INDEX step_placer ON step (placer);
CREATE INDEX step_study ON step (study_uid);
CREATE INDEX step_accession ON step (accession);

CREATE TABLE worklist (
  list       TEXT NOT NULL,                 -- the destination that a route named
  key        TEXT NOT NULL REFERENCES step (key),
  id         INTEGER NOT NULL UNIQUE,
  patient_id TEXT NOT NULL,
  start_date TEXT NOT NULL,
  attributes TEXT NOT NULL,                 -- DICOM attributes by keyword, JSON
  route      TEXT NOT NULL,
  version    TEXT NOT NULL,
  event      TEXT NOT NULL,
  changed    TEXT NOT NULL,
  PRIMARY KEY (list, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX worklist_patient ON worklist (patient_id);
CREATE INDEX worklist_date ON worklist (start_date);

CREATE TABLE worklist_station (
  aet        TEXT NOT NULL,
  start_date TEXT NOT NULL,
  row        INTEGER NOT NULL REFERENCES worklist (id) ON DELETE CASCADE,
  PRIMARY KEY (aet, start_date, row)
) STRICT, WITHOUT ROWID;
CREATE INDEX worklist_station_row ON worklist_station (row);

CREATE TABLE instance (
  sop_instance_uid TEXT PRIMARY KEY,
  study_uid        TEXT NOT NULL,
  accession        TEXT NOT NULL,
  sha256           TEXT NOT NULL,
  path             TEXT NOT NULL,
  patient          TEXT NOT NULL,           -- '' while PAS does not know the patient
  event            TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX instance_study ON instance (study_uid);
CREATE INDEX instance_patient ON instance (patient);

-- What a person must look at, until it is put right.
CREATE TABLE exception (
  kind    TEXT NOT NULL,                    -- step-held, instance-unverified, event-failed …
  subject TEXT NOT NULL,                    -- our key of the thing; tells nobody who the patient is
  reason  TEXT NOT NULL,
  since   TEXT NOT NULL,
  event   TEXT NOT NULL,
  PRIMARY KEY (kind, subject)
) STRICT, WITHOUT ROWID;
