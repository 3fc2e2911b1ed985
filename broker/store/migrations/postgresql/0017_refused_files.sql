-- Files that only objects have which were refused: each goes with the bodies of the last day on which one came. No register.
CREATE TABLE refused_file (
  path             TEXT COLLATE "C" PRIMARY KEY,    -- relative to the spool
  sop_instance_uid TEXT COLLATE "C" NOT NULL,
  state            TEXT COLLATE "C" NOT NULL,       -- what `object_state` would say, had it been taken
  day              TEXT COLLATE "C" NOT NULL
);
CREATE INDEX refused_file_day ON refused_file (day, path);
