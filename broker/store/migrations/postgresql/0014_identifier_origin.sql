-- From whom, when and by which event an identifier came first.

ALTER TABLE patient_identifier ADD COLUMN source TEXT COLLATE "C" NOT NULL DEFAULT ''; -- listener; '': it came before this schema
ALTER TABLE patient_identifier ADD COLUMN since TEXT COLLATE "C" NOT NULL DEFAULT '';  -- when it was heard, ISO 8601 in UTC
ALTER TABLE patient_identifier ADD COLUMN event TEXT COLLATE "C" NOT NULL DEFAULT '';
