"""RIS, and an EPJ that orders: pushes orders whose scheduled steps become worklist rows."""

from adapters.ris.inbound import INBOUND

__all__ = ["INBOUND"]
