-- Patients by name and birth date, for those who ask the broker; and whose demographics were told to whom.

CREATE TABLE patient_search (
  patient    TEXT COLLATE "C" NOT NULL,                -- '': patients from before this table wait to be written
  family     TEXT COLLATE "C" NOT NULL,                -- without case and accents, once as folded and once as transliterated
  given      TEXT COLLATE "C" NOT NULL,
  birth_date TEXT COLLATE "C" NOT NULL,
  sex        TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (patient, family, given)
);
CREATE INDEX patient_search_name ON patient_search (family, given, birth_date);
CREATE INDEX patient_search_birth ON patient_search (birth_date, family, given);

INSERT INTO patient_search (patient, family, given, birth_date, sex) SELECT '', '', '', '', '' WHERE EXISTS (SELECT 1 FROM patient);

CREATE TABLE disclosure (
  patient   TEXT COLLATE "C" NOT NULL,
  audit     BIGINT NOT NULL REFERENCES audit (id),
  PRIMARY KEY (patient, audit)
);
