-- What a delivery may carry, deliveries that policy withholds, and by whom patients were born.

ALTER TABLE delivery DROP CONSTRAINT delivery_state_check;
ALTER TABLE delivery ADD CONSTRAINT delivery_state_check
  CHECK (state IN ('queued', 'delivered', 'held', 'parked', 'dropped', 'withheld'));
-- care, contact, cleared (for protected addresses too); '': not known
ALTER TABLE delivery ADD COLUMN purpose TEXT COLLATE "C" NOT NULL DEFAULT '';

CREATE TABLE patient_mother (
  value   TEXT COLLATE "C" NOT NULL,
  issuer  TEXT COLLATE "C" NOT NULL,                    -- of the mother's identifier, as PID-21 named her
  child   TEXT COLLATE "C" NOT NULL REFERENCES patient (key),
  PRIMARY KEY (value, issuer, child)
);
CREATE INDEX patient_mother_child ON patient_mother (child);
