"""LAB and other makers of results: push ORU, which passes whole to the EPJ and is never DICOM-ised."""

from adapters.lab.inbound import INBOUND

__all__ = ["INBOUND"]
