-- Studies: what is here of each, and what each archive says it keeps.
ALTER TABLE instance ADD COLUMN sop_class_uid TEXT NOT NULL DEFAULT '';
ALTER TABLE instance ADD COLUMN series_uid TEXT NOT NULL DEFAULT '';
UPDATE instance SET
  sop_class_uid = coalesce((SELECT json_extract(body, '$.data.instance.sop_class_uid') FROM event WHERE id = instance.event), ''),
  series_uid = coalesce((SELECT json_extract(body, '$.data.instance.series_uid') FROM event WHERE id = instance.event), '');

CREATE TABLE study (
  study_uid TEXT PRIMARY KEY,
  accession TEXT NOT NULL,
  since     TEXT NOT NULL,                  -- when its first instance came, ISO 8601, UTC
  last      TEXT NOT NULL,                  -- when its last one came, or an MPPS of it said something
  state     TEXT NOT NULL,                  -- receiving, complete
  completed TEXT NOT NULL,                  -- when it was told to be complete; '': never yet
  event     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX study_receiving ON study (last) WHERE state = 'receiving';
CREATE INDEX study_complete ON study (completed) WHERE state = 'complete';
CREATE INDEX study_last ON study (last);

-- What MPPS list.
CREATE TABLE study_expected (
  study_uid        TEXT NOT NULL,
  sop_instance_uid TEXT NOT NULL,
  mpps             TEXT NOT NULL,
  PRIMARY KEY (study_uid, sop_instance_uid)
) STRICT, WITHOUT ROWID;

-- Which archive has which instance, and whether it has committed to it.
CREATE TABLE copy (
  archive          TEXT NOT NULL,           -- name of the destination
  sop_instance_uid TEXT NOT NULL,
  study_uid        TEXT NOT NULL,
  state            TEXT NOT NULL,           -- stored, committed, failed
  failure          INTEGER NOT NULL,        -- (0008,1197); 0: none
  since            TEXT NOT NULL,
  event            TEXT NOT NULL,
  freed            INTEGER NOT NULL DEFAULT 0, -- 1: its file was given up; for the index alone, no register
  PRIMARY KEY (archive, sop_instance_uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX copy_instance ON copy (sop_instance_uid);
CREATE INDEX copy_study ON copy (study_uid);
CREATE INDEX copy_open ON copy (archive, state) WHERE state <> 'committed';
CREATE INDEX copy_failed ON copy (archive, study_uid) WHERE state = 'failed';
CREATE INDEX copy_kept ON copy (since, sop_instance_uid, archive) WHERE state = 'committed' AND freed = 0;

-- What archives were asked to commit to.
CREATE TABLE commitment (
  transaction_uid TEXT PRIMARY KEY,
  archive   TEXT NOT NULL,
  study_uid TEXT NOT NULL,
  asked     TEXT NOT NULL,
  answered  TEXT NOT NULL,                  -- '': not yet
  event     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX commitment_open ON commitment (archive, asked) WHERE answered = '';
CREATE INDEX commitment_study ON commitment (study_uid);

-- What devices ask us to commit to.
CREATE TABLE commitment_request (
  requester       TEXT NOT NULL,            -- AE title
  transaction_uid TEXT NOT NULL,
  asked    TEXT NOT NULL,
  reported TEXT NOT NULL,                   -- '': not yet
  event    TEXT NOT NULL,
  PRIMARY KEY (requester, transaction_uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX commitment_request_open ON commitment_request (asked) WHERE reported = '';

CREATE TABLE commitment_item (
  requester        TEXT NOT NULL,
  transaction_uid  TEXT NOT NULL,
  sop_instance_uid TEXT NOT NULL,
  sop_class_uid    TEXT NOT NULL,
  PRIMARY KEY (requester, transaction_uid, sop_instance_uid)
) STRICT, WITHOUT ROWID;

-- Instances that a rejection note took out of use.
CREATE TABLE rejection (
  sop_instance_uid TEXT PRIMARY KEY,
  study_uid TEXT NOT NULL,
  code      TEXT NOT NULL,                  -- title of the note (PS3.16 CID 7010)
  note      TEXT NOT NULL,                  -- its SOP Instance UID
  since     TEXT NOT NULL,
  event     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX rejection_study ON rejection (study_uid);

-- What archives notified of by themselves (IAN).
CREATE TABLE availability (
  study_uid    TEXT NOT NULL,
  retrieve_aet TEXT NOT NULL,
  availability TEXT NOT NULL,
  instances    INTEGER NOT NULL,
  since        TEXT NOT NULL,
  event        TEXT NOT NULL,
  PRIMARY KEY (study_uid, retrieve_aet)
) STRICT, WITHOUT ROWID;

-- Objects whose file was given up, because enough archives have committed to them. No register.
CREATE TABLE freed (
  sop_instance_uid TEXT PRIMARY KEY,
  at               TEXT NOT NULL,
  gone             INTEGER NOT NULL DEFAULT 0 -- 1: the file is removed
) STRICT, WITHOUT ROWID;
CREATE INDEX freed_there ON freed (at) WHERE gone = 0;
