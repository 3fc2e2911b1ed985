"""DIMSE statuses: which value says what, and which class a value belongs to.

PS3.7 C, PS3.4 B.2.3 (storage), C.4.1.1.4 and K.4.1.1.4 (queries), C.4.2.1.5 and C.4.3.1.4 (retrieval), F.7.2.2.3
(MPPS), J.3 (storage commitment).
"""

from __future__ import annotations

SUCCESS = 0x0000
PENDING = 0xFF00
"""A match follows, and every optional key was supported."""
PENDING_UNSUPPORTED_KEYS = 0xFF01
"""A match follows, but at least one optional key was not supported for matching."""
CANCEL = 0xFE00
"""Matching ended because the peer sent a C-CANCEL."""

INVALID_ATTRIBUTE_VALUE = 0x0106
PROCESSING_FAILURE = 0x0110
DUPLICATE_SOP_INSTANCE = 0x0111
NO_SUCH_SOP_INSTANCE = 0x0112
NO_SUCH_EVENT_TYPE = 0x0113
INVALID_ARGUMENT_VALUE = 0x0115
INVALID_OBJECT_INSTANCE = 0x0117
NO_SUCH_SOP_CLASS = 0x0118
CLASS_INSTANCE_CONFLICT = 0x0119
MISSING_ATTRIBUTE = 0x0120
MISSING_ATTRIBUTE_VALUE = 0x0121
SOP_CLASS_NOT_SUPPORTED = 0x0122
NO_SUCH_ACTION = 0x0123
NOT_AUTHORISED = 0x0124
DUPLICATE_TRANSACTION = 0x0131
"""Failure reason of a storage commitment only (PS3.3 C.14.1.1)."""
DUPLICATE_INVOCATION = 0x0210
UNRECOGNISED_OPERATION = 0x0211
RESOURCE_LIMITATION = 0x0213

MAY_NO_LONGER_BE_UPDATED = 0xA710
"""Error ID beside 0110: the MPPS is completed or discontinued (PS3.4 F.7.2.2.3)."""

OUT_OF_RESOURCES = 0xA700
"""Storage: try again later (disk full, journal not writable)."""
OUT_OF_RESOURCES_MATCHES = 0xA701
"""Retrieval: it cannot tell how many instances match."""
OUT_OF_RESOURCES_SUBOPERATIONS = 0xA702
MOVE_DESTINATION_UNKNOWN = 0xA801
DATA_SET_MISMATCH = 0xA900
"""Storage: the data set does not match its SOP class. Query: the identifier does not."""
CANNOT_UNDERSTAND = 0xC000
"""Storage: cannot understand. Query: unable to process."""

COERCED = 0xB000
"""Storage warning: stored, with data elements changed. Retrieval: done, but not all sub-operations succeeded."""
ELEMENTS_DISCARDED = 0xB006
DATA_SET_MISMATCH_WARNING = 0xB007
RESPONSE_LIMIT = 0xB001
"""Query warning: the limit was reached, a later query may return more."""

_MEANINGS = {
    SUCCESS: "success",
    PENDING: "pending",
    PENDING_UNSUPPORTED_KEYS: "pending, some optional keys not supported",
    CANCEL: "cancelled",
    INVALID_ATTRIBUTE_VALUE: "invalid attribute value",
    PROCESSING_FAILURE: "processing failure",
    DUPLICATE_SOP_INSTANCE: "duplicate SOP instance",
    NO_SUCH_SOP_INSTANCE: "no such SOP instance",
    NO_SUCH_EVENT_TYPE: "no such event type",
    INVALID_ARGUMENT_VALUE: "invalid argument value",
    INVALID_OBJECT_INSTANCE: "invalid object instance",
    NO_SUCH_SOP_CLASS: "no such SOP class",
    CLASS_INSTANCE_CONFLICT: "class-instance conflict",
    MISSING_ATTRIBUTE: "missing attribute",
    MISSING_ATTRIBUTE_VALUE: "missing attribute value",
    SOP_CLASS_NOT_SUPPORTED: "SOP class not supported",
    NO_SUCH_ACTION: "no such action",
    NOT_AUTHORISED: "not authorised",
    DUPLICATE_TRANSACTION: "duplicate Transaction UID",
    DUPLICATE_INVOCATION: "duplicate invocation",
    UNRECOGNISED_OPERATION: "unrecognised operation",
    RESOURCE_LIMITATION: "resource limitation",
    OUT_OF_RESOURCES: "out of resources",
    OUT_OF_RESOURCES_MATCHES: "out of resources, unable to calculate the number of matches",
    OUT_OF_RESOURCES_SUBOPERATIONS: "out of resources, unable to perform sub-operations",
    MOVE_DESTINATION_UNKNOWN: "move destination unknown",
    DATA_SET_MISMATCH: "data set does not match SOP class",
    CANNOT_UNDERSTAND: "cannot understand",
    COERCED: "coercion of data elements; of a retrieval: not all of it done",
    ELEMENTS_DISCARDED: "elements discarded",
    DATA_SET_MISMATCH_WARNING: "data set does not match SOP class",
    RESPONSE_LIMIT: "response limit reached",
}
_GENERAL_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})


def is_success(status: int) -> bool:
    """0000 and nothing else: a warning is not a success."""
    return status == SUCCESS


def is_pending(status: int) -> bool:
    """FF00 or FF01: more answers follow."""
    return status in (PENDING, PENDING_UNSUPPORTED_KEYS)


def is_warning(status: int) -> bool:
    """Done, with a remark: Bxxx, 0001, 0107, 0116."""
    return 0xB000 <= status <= 0xBFFF or status in _GENERAL_WARNINGS


def is_failure(status: int) -> bool:
    """Everything that is not success, warning, pending or cancel, unknown values included."""
    return not (is_success(status) or is_warning(status) or is_pending(status) or status == CANCEL)


def describe(status: int) -> str:
    """`A700 out of resources`: the value as DICOM prints it, and what it (else its class) means."""
    meaning = _MEANINGS.get(status)
    if meaning is None:
        if 0xA700 <= status <= 0xA7FF:
            meaning = _MEANINGS[OUT_OF_RESOURCES]
        elif 0xA900 <= status <= 0xA9FF:
            meaning = _MEANINGS[DATA_SET_MISMATCH]
        elif 0xC000 <= status <= 0xCFFF:
            meaning = _MEANINGS[CANNOT_UNDERSTAND]
        else:
            meaning = "warning" if is_warning(status) else "failure"
    return f"{status:04X} {meaning}"
