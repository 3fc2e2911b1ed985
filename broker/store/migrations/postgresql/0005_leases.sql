-- Several nodes: who may do what only one may, which deliveries a node has in hand, and the order of routing.

ALTER TABLE event ADD COLUMN place BIGINT;      -- which event in the order of commit 2; NULL: not routed yet
UPDATE event SET place = seq WHERE routed IS NOT NULL;
CREATE UNIQUE INDEX event_place ON event (place) WHERE place IS NOT NULL;

CREATE TABLE routing (
  id        BIGINT PRIMARY KEY CHECK (id = 1),
  place     BIGINT NOT NULL                -- the last one that was given
);
-- Not below the bus's place: it may have published what was not routed yet, and passes over no new event.
INSERT INTO routing (id, place) SELECT 1, max(place) FROM (
  SELECT coalesce(max(place), 0) AS place FROM event UNION ALL SELECT coalesce(max(event), 0) FROM bus_cursor
) AS given;

CREATE TABLE lease (
  name      TEXT COLLATE "C" PRIMARY KEY,
  owner     TEXT COLLATE "C" NOT NULL,                  -- the node; '': it was given back
  term      BIGINT NOT NULL,               -- goes up with each taking, over all leases: an older one may write nothing
  until     DOUBLE PRECISION NOT NULL                   -- by the store's clock, seconds since the epoch
);

ALTER TABLE delivery ADD COLUMN claim BIGINT;   -- term of the way that has it in hand; NULL: nobody
CREATE INDEX delivery_claim ON delivery (destination, lane, claim) WHERE claim IS NOT NULL;
CREATE INDEX delivery_heads ON delivery (destination, lane, id) WHERE state IN ('queued', 'parked');

CREATE TABLE breaker (
  destination TEXT COLLATE "C" PRIMARY KEY,
  body      TEXT COLLATE "C" NOT NULL                   -- broker/delivery/breaker.py, as JSON; no row: closed
);
