-- Visits and appointments, who is in which bed, and the steps that a visit makes without an order.

CREATE TABLE visit (
  key         TEXT COLLATE "C" PRIMARY KEY,             -- issuer|number; of an appointment: appointment|issuer|number
  visit       TEXT COLLATE "C" NOT NULL,                -- key of the visit that it belongs to: its own, or the one that it names
  patient     TEXT COLLATE "C" NOT NULL REFERENCES patient (key),
  said_value  TEXT COLLATE "C" NOT NULL,                -- the identifier under which it came last; its patient is
  said_issuer TEXT COLLATE "C" NOT NULL,                -- whoever owns that now
  status      TEXT COLLATE "C" NOT NULL,
  body        TEXT COLLATE "C" NOT NULL,                -- broker.event.Encounter as JSON
  at          TEXT COLLATE "C" NOT NULL,                -- of the last change, as the sender says: YYYYMMDD or longer
  ended       TEXT COLLATE "C" NOT NULL,                -- when it was heard that it ended, UTC; '': it is open
  merged_into TEXT COLLATE "C" REFERENCES visit (key),  -- the number under which it goes on
  source      TEXT COLLATE "C" NOT NULL,
  site        TEXT COLLATE "C" NOT NULL,
  event       TEXT COLLATE "C" NOT NULL
);
CREATE INDEX visit_patient ON visit (patient);
CREATE INDEX visit_visit ON visit (visit);
CREATE INDEX visit_said ON visit (said_value, said_issuer);

CREATE TABLE visit_history (
  visit     TEXT COLLATE "C" NOT NULL REFERENCES visit (key),
  number    INTEGER NOT NULL,
  body      TEXT COLLATE "C" NOT NULL,                  -- as it was before the event
  event     TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (visit, number)
);

CREATE TABLE bed (
  site      TEXT COLLATE "C" NOT NULL,                  -- PV1-3.4, else the listener's
  place     TEXT COLLATE "C" NOT NULL,                  -- point of care^room^bed
  visit     TEXT COLLATE "C" NOT NULL REFERENCES visit (key),
  since     TEXT COLLATE "C" NOT NULL,                  -- when it was heard, UTC
  said      TEXT COLLATE "C" NOT NULL,                  -- when it was, as the sender says
  until     TEXT COLLATE "C" NOT NULL,                  -- '': still
  event     TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (site, place, since, visit)
);
CREATE INDEX bed_visit ON bed (visit);

ALTER TABLE step ADD COLUMN adopted_by TEXT COLLATE "C" NOT NULL DEFAULT '';  -- of a step without an order: key of the order's
