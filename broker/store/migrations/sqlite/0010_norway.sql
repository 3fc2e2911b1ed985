-- Temporary identifiers with when and from whom they came first, and which child is whose.

CREATE TABLE temporary_id (
  value  TEXT NOT NULL,
  issuer TEXT NOT NULL,
  since  TEXT NOT NULL,                    -- ISO 8601, UTC: when PAS first named it
  source TEXT NOT NULL,                    -- listener that took the message, and its site
  site   TEXT NOT NULL,
  event  TEXT NOT NULL,
  PRIMARY KEY (value, issuer)
) STRICT, WITHOUT ROWID;

CREATE TABLE mother (
  child  TEXT PRIMARY KEY REFERENCES patient (key),
  value  TEXT NOT NULL,                    -- the mother's identifier, as PID-21 named it; whose it is, patient_identifier says
  issuer TEXT NOT NULL,
  event  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX mother_identifier ON mother (value, issuer);
