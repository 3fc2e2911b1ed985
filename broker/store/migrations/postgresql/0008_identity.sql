-- Identity: whose word a demographic value is, under which identifier things came, and a ledger of what joined records.

ALTER TABLE patient ADD COLUMN provenance TEXT COLLATE "C" NOT NULL DEFAULT '{}';  -- broker/registers/versions.py, as JSON

ALTER TABLE step ADD COLUMN said_value TEXT COLLATE "C" NOT NULL DEFAULT '';  -- the identifier under which it came; its patient is
ALTER TABLE step ADD COLUMN said_issuer TEXT COLLATE "C" NOT NULL DEFAULT ''; -- whoever owns that now ('': it came before this schema)
ALTER TABLE step ADD COLUMN visit TEXT COLLATE "C" NOT NULL DEFAULT '';       -- issuer|number of the visit; '' where there is none
CREATE INDEX step_said ON step (said_value, said_issuer);
CREATE INDEX step_visit ON step (visit) WHERE visit <> '';

ALTER TABLE instance ADD COLUMN said_value TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE instance ADD COLUMN said_issuer TEXT COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX instance_said ON instance (said_value, said_issuer);

CREATE TABLE patient_change (
  number   BIGINT PRIMARY KEY,             -- the order in which they were folded
  id       TEXT COLLATE "C" NOT NULL UNIQUE,            -- the event's, with a number behind it where the event made several
  kind     TEXT COLLATE "C" NOT NULL,                   -- merge, id-change, move, visit-move
  state    TEXT COLLATE "C" NOT NULL CHECK (state IN ('applied', 'held', 'released', 'refused', 'undone')),
  survivor TEXT COLLATE "C" NOT NULL,                   -- record to which identifiers or things went
  absorbed TEXT COLLATE "C" NOT NULL,                   -- record from which they came; '' where no other record had them
  at       TEXT COLLATE "C" NOT NULL,
  reason   TEXT COLLATE "C" NOT NULL,                   -- why it is held; places, never values
  body     TEXT COLLATE "C" NOT NULL,                   -- what stood before, as JSON (broker/registers/changes.py)
  ended    TEXT COLLATE "C" NOT NULL,                   -- event that released, refused or undid it; '' while none did
  event    TEXT COLLATE "C" NOT NULL
);
CREATE INDEX patient_change_survivor ON patient_change (survivor);
CREATE INDEX patient_change_absorbed ON patient_change (absorbed) WHERE absorbed <> '';

-- The identifiers that a change touched, as they were before it.
CREATE TABLE patient_change_identifier (
  change   TEXT COLLATE "C" NOT NULL REFERENCES patient_change (id),
  value    TEXT COLLATE "C" NOT NULL,
  issuer   TEXT COLLATE "C" NOT NULL,
  patient  TEXT COLLATE "C" NOT NULL,                   -- '': nobody's
  current  BIGINT NOT NULL,
  leaves   BIGINT NOT NULL,                -- 1: it goes from the survivor when the change is undone
  PRIMARY KEY (change, value, issuer)
);
CREATE INDEX patient_change_identifier_value ON patient_change_identifier (value, issuer);

-- Records that PAS calls related (A24), by an identifier of each, the smaller first; nothing is filed by it.
CREATE TABLE patient_link (
  value        TEXT COLLATE "C" NOT NULL,
  issuer       TEXT COLLATE "C" NOT NULL,
  other_value  TEXT COLLATE "C" NOT NULL,
  other_issuer TEXT COLLATE "C" NOT NULL,
  event        TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (value, issuer, other_value, other_issuer)
);
CREATE INDEX patient_link_other ON patient_link (other_value, other_issuer);

-- Lanes that were one and are two again: what one opens waits for what the other had open by then.
CREATE TABLE lane_parted (
  lane   TEXT COLLATE "C" PRIMARY KEY,
  behind TEXT COLLATE "C" NOT NULL,                     -- the lane that both were
  until  BIGINT NOT NULL                   -- the last delivery there that must leave before
);
