-- Identity: whose word a demographic value is, under which identifier things came, and a ledger of what joined records.

ALTER TABLE patient ADD COLUMN provenance TEXT NOT NULL DEFAULT '{}';  -- broker/registers/versions.py, as JSON

ALTER TABLE step ADD COLUMN said_value TEXT NOT NULL DEFAULT '';  -- the identifier under which it came; its patient is
ALTER TABLE step ADD COLUMN said_issuer TEXT NOT NULL DEFAULT ''; -- whoever owns that now ('': it came before this schema)
ALTER TABLE step ADD COLUMN visit TEXT NOT NULL DEFAULT '';       -- issuer|number of the visit; '' where there is none
CREATE INDEX step_said ON step (said_value, said_issuer);
CREATE INDEX step_visit ON step (visit) WHERE visit <> '';

ALTER TABLE instance ADD COLUMN said_value TEXT NOT NULL DEFAULT '';
ALTER TABLE instance ADD COLUMN said_issuer TEXT NOT NULL DEFAULT '';
CREATE INDEX instance_said ON instance (said_value, said_issuer);

CREATE TABLE patient_change (
  number   INTEGER PRIMARY KEY,             -- the order in which they were folded
  id       TEXT NOT NULL UNIQUE,            -- the event's, with a number behind it where the event made several
  kind     TEXT NOT NULL,                   -- merge, id-change, move, visit-move
  state    TEXT NOT NULL CHECK (state IN ('applied', 'held', 'released', 'refused', 'undone')),
  survivor TEXT NOT NULL,                   -- record to which identifiers or things went
  absorbed TEXT NOT NULL,                   -- record from which they came; '' where no other record had them
  at       TEXT NOT NULL,
  reason   TEXT NOT NULL,                   -- why it is held; places, never values
  body     TEXT NOT NULL,                   -- what stood before, as JSON (broker/registers/changes.py)
  ended    TEXT NOT NULL,                   -- event that released, refused or undid it; '' while none did
  event    TEXT NOT NULL
) STRICT;
CREATE INDEX patient_change_survivor ON patient_change (survivor);
CREATE INDEX patient_change_absorbed ON patient_change (absorbed) WHERE absorbed <> '';

-- The identifiers that a change touched, as they were before it.
CREATE TABLE patient_change_identifier (
  change   TEXT NOT NULL REFERENCES patient_change (id),
  value    TEXT NOT NULL,
  issuer   TEXT NOT NULL,
  patient  TEXT NOT NULL,                   -- '': nobody's
  current  INTEGER NOT NULL,
  leaves   INTEGER NOT NULL,                -- 1: it goes from the survivor when the change is undone
  PRIMARY KEY (change, value, issuer)
) STRICT, WITHOUT ROWID;
CREATE INDEX patient_change_identifier_value ON patient_change_identifier (value, issuer);

-- Records that PAS calls related (A24), by an identifier of each, the smaller first; nothing is filed by it.
CREATE TABLE patient_link (
  value        TEXT NOT NULL,
  issuer       TEXT NOT NULL,
  other_value  TEXT NOT NULL,
  other_issuer TEXT NOT NULL,
  event        TEXT NOT NULL,
  PRIMARY KEY (value, issuer, other_value, other_issuer)
) STRICT, WITHOUT ROWID;
CREATE INDEX patient_link_other ON patient_link (other_value, other_issuer);

-- Lanes that were one and are two again: what one opens waits for what the other had open by then.
CREATE TABLE lane_parted (
  lane   TEXT PRIMARY KEY,
  behind TEXT NOT NULL,                     -- the lane that both were
  until  INTEGER NOT NULL                   -- the last delivery there that must leave before
) STRICT, WITHOUT ROWID;
