"""EPJ, the patient record: gets the ADT, the status of orders, and results."""

from adapters.epj.outbound import OUTBOUND

__all__ = ["OUTBOUND"]
