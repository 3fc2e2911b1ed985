-- Rows of the worklist by their patient's name, for a device that asks by name alone; by day, for one that names no station.

CREATE TABLE worklist_name (
  name       TEXT COLLATE "C" NOT NULL,     -- as matching reads it, in each form (broker.dicom.names.readings);
                                            -- '': a row from before this table, whose names wait to be read
  start_date TEXT COLLATE "C" NOT NULL,
  row        BIGINT NOT NULL REFERENCES worklist (id) ON DELETE CASCADE,
  PRIMARY KEY (name, start_date, row)
);
CREATE INDEX worklist_name_row ON worklist_name (row);

INSERT INTO worklist_name (name, start_date, row) SELECT DISTINCT '', start_date, row FROM worklist_station;

CREATE INDEX worklist_station_date ON worklist_station (start_date, row);
