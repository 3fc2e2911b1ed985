-- Files that only objects have which were refused: each goes with the bodies of the last day on which one came. No register.
CREATE TABLE refused_file (
  path             TEXT PRIMARY KEY,    -- relative to the spool
  sop_instance_uid TEXT NOT NULL,
  state            TEXT NOT NULL,       -- what `object_state` would say, had it been taken
  day              TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX refused_file_day ON refused_file (day, path);
