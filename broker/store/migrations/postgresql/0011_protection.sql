-- What a delivery may carry, and deliveries that policy withholds.

ALTER TABLE delivery DROP CONSTRAINT delivery_state_check;
ALTER TABLE delivery ADD CONSTRAINT delivery_state_check
  CHECK (state IN ('queued', 'delivered', 'held', 'parked', 'dropped', 'withheld'));
-- care, contact, cleared (for protected addresses too); '': not known
ALTER TABLE delivery ADD COLUMN purpose TEXT COLLATE "C" NOT NULL DEFAULT '';
