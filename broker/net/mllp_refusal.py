"""What an MLLP server answers to a message that it refuses before anything looked at it. Does not decide to refuse."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from broker.errors import Unreadable
from broker.hl7.ack import AckError, answers, build_ack, is_ack
from broker.hl7.er7 import Header


def refusal(head: bytes, text: str, enhanced: Literal["CE", "CR"] = "CR") -> Sequence[bytes]:
    """Answers of a message that is refused before anything looked at it: AR, or `enhanced` where that is the mode.

    CE: it could not be taken now; CR: it would not be taken later either (HL7 v2.5.1 2.9.3.1).
    """
    try:
        header = Header.read(head)
    except Unreadable:
        header = None
    if header is not None and is_ack(header):
        return ()
    now = datetime.now().astimezone().strftime("%Y%m%d%H%M%S%z")
    error = AckError(code="207", text=text)
    return [
        build_ack(
            header,
            code=code if code != "CR" else enhanced,
            control_id=secrets.token_hex(8),
            timestamp=now,
            text=text,
            error=error,
        )
        for code in answers(header, "AR")
    ]
