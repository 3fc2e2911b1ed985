-- The tally has a row for each node that writes, so that nodes of one PostgreSQL need not wait for each other.
ALTER TABLE tally RENAME TO tally_v2;
CREATE TABLE tally (
  day         TEXT NOT NULL,                -- of the message
  source      TEXT NOT NULL,
  route       TEXT NOT NULL,                -- '' and '': the message itself, state is its verdict
  destination TEXT NOT NULL,
  state       TEXT NOT NULL,
  node        TEXT NOT NULL,                -- who counted; '' where only one can write
  number      INTEGER NOT NULL,
  PRIMARY KEY (day, source, route, destination, state, node)
) STRICT, WITHOUT ROWID;
INSERT INTO tally SELECT day, source, route, destination, state, '', number FROM tally_v2;
DROP TABLE tally_v2;
