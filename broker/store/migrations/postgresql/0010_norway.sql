-- Temporary identifiers with when and from whom they came first, and which child is whose.

CREATE TABLE temporary_id (
  value  TEXT COLLATE "C" NOT NULL,
  issuer TEXT COLLATE "C" NOT NULL,
  since  TEXT COLLATE "C" NOT NULL,                    -- ISO 8601, UTC: when PAS first named it
  source TEXT COLLATE "C" NOT NULL,                    -- listener that took the message, and its site
  site   TEXT COLLATE "C" NOT NULL,
  event  TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (value, issuer)
);

CREATE TABLE mother (
  child  TEXT COLLATE "C" PRIMARY KEY REFERENCES patient (key),
  value  TEXT COLLATE "C" NOT NULL,                    -- the mother's identifier, as PID-21 named it; whose it is, patient_identifier says
  issuer TEXT COLLATE "C" NOT NULL,
  event  TEXT COLLATE "C" NOT NULL
);
CREATE INDEX mother_identifier ON mother (value, issuer);
