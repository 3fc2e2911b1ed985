"""Whoever asks the broker who a patient is: HL7 queries (IHE ITI-9, ITI-21) and DICOM Patient Root C-FIND.

The broker pushes nothing here and takes nothing in: systems that need demographics fetch them, as PAS has them.
"""

from adapters.pdq.find import FIND
from adapters.pdq.inbound import INBOUND

__all__ = ["FIND", "INBOUND"]
