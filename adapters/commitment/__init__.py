"""Storage commitment both ways: archives are asked and answer, devices ask and are told."""

from adapters.commitment.ask import OUTBOUND as ASKING
from adapters.commitment.inbound import INBOUND
from adapters.commitment.tell import OUTBOUND as TELLING

__all__ = ["ASKING", "INBOUND", "TELLING"]
