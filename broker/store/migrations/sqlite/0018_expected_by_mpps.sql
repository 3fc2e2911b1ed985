-- What is expected of a study follows from all of its MPPS: two of them may list one object, and one leave it out again.
CREATE TABLE study_expected_by_mpps (
  study_uid        TEXT NOT NULL,
  sop_instance_uid TEXT NOT NULL,
  mpps             TEXT NOT NULL,
  PRIMARY KEY (study_uid, sop_instance_uid, mpps)
) STRICT, WITHOUT ROWID;
INSERT INTO study_expected_by_mpps SELECT study_uid, sop_instance_uid, mpps FROM study_expected;
DROP TABLE study_expected;
ALTER TABLE study_expected_by_mpps RENAME TO study_expected;

-- What was left out because another had listed it, of studies that go on: the MPPS themselves still say it.
INSERT OR IGNORE INTO study_expected (study_uid, sop_instance_uid, mpps)
  SELECT study.study_uid, listed.value, mpps.uid
  FROM mpps, json_each(mpps.body, '$.steps') AS step, json_each(mpps.body, '$.series') AS series,
    json_each(series.value, '$.instances') AS listed
  JOIN study ON study.study_uid = json_extract(step.value, '$.study_uid') AND study.state = 'receiving';
