-- What is expected of a study follows from all of its MPPS: two of them may list one object, and one leave it out again.
ALTER TABLE study_expected DROP CONSTRAINT study_expected_pkey;
ALTER TABLE study_expected ADD PRIMARY KEY (study_uid, sop_instance_uid, mpps);

-- What was left out because another had listed it, of studies that go on: the MPPS themselves still say it.
INSERT INTO study_expected (study_uid, sop_instance_uid, mpps)
  SELECT study.study_uid, listed.value, mpps.uid
  FROM mpps
  CROSS JOIN LATERAL jsonb_array_elements(coalesce(mpps.body::jsonb -> 'steps', '[]')) AS step
  CROSS JOIN LATERAL jsonb_array_elements(coalesce(mpps.body::jsonb -> 'series', '[]')) AS series
  CROSS JOIN LATERAL jsonb_array_elements_text(coalesce(series.value -> 'instances', '[]')) AS listed
  JOIN study ON study.study_uid = step.value ->> 'study_uid' AND study.state = 'receiving'
  ON CONFLICT (study_uid, sop_instance_uid, mpps) DO NOTHING;
