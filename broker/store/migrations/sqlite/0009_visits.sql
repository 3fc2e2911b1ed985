-- Visits and appointments, who is in which bed, and the steps that a visit makes without an order.

CREATE TABLE visit (
  key         TEXT PRIMARY KEY,             -- issuer|number; of an appointment: appointment|issuer|number
  visit       TEXT NOT NULL,                -- key of the visit that it belongs to: its own, or the one that it names
  patient     TEXT NOT NULL REFERENCES patient (key),
  said_value  TEXT NOT NULL,                -- the identifier under which it came last; its patient is
  said_issuer TEXT NOT NULL,                -- whoever owns that now
  status      TEXT NOT NULL,
  body        TEXT NOT NULL,                -- broker.event.Encounter as JSON
  at          TEXT NOT NULL,                -- of the last change, as the sender says: YYYYMMDD or longer
  ended       TEXT NOT NULL,                -- when it was heard that it ended, UTC; '': it is open
  merged_into TEXT REFERENCES visit (key),  -- the number under which it goes on
  source      TEXT NOT NULL,
  site        TEXT NOT NULL,
  event       TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX visit_patient ON visit (patient);
CREATE INDEX visit_visit ON visit (visit);
CREATE INDEX visit_said ON visit (said_value, said_issuer);

CREATE TABLE visit_history (
  visit     TEXT NOT NULL REFERENCES visit (key),
  number    INTEGER NOT NULL,
  body      TEXT NOT NULL,                  -- as it was before the event
  event     TEXT NOT NULL,
  PRIMARY KEY (visit, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE bed (
  site      TEXT NOT NULL,                  -- PV1-3.4, else the listener's
  place     TEXT NOT NULL,                  -- point of care^room^bed
  visit     TEXT NOT NULL REFERENCES visit (key),
  since     TEXT NOT NULL,                  -- when it was heard, UTC
  said      TEXT NOT NULL,                  -- when it was, as the sender says
  until     TEXT NOT NULL,                  -- '': still
  event     TEXT NOT NULL,
  PRIMARY KEY (site, place, since, visit)
) STRICT, WITHOUT ROWID;
CREATE INDEX bed_visit ON bed (visit);

ALTER TABLE step ADD COLUMN adopted_by TEXT NOT NULL DEFAULT '';  -- of a step without an order: key of the order's
