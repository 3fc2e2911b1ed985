"""PAS: patient administration. Pushes ADT; the only truth about who the patient is (invariant 10)."""

from adapters.pas.inbound import INBOUND

__all__ = ["INBOUND"]
