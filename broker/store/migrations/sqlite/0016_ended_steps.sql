-- A step that has ended is found under no station any more.
DELETE FROM worklist_station WHERE row IN (
  SELECT worklist.id FROM worklist JOIN step ON step.key = worklist.key
  WHERE step.status IN ('COMPLETED', 'DISCONTINUED', 'CANCELED', 'EXPIRED')
);
