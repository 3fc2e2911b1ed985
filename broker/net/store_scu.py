"""Sends instances to one storage SCP on one association that is kept and reused.

The bytes leave as the file has them: never transcoded, never decoded, never loaded whole. Retrying is the
lane's. One `StoreScu` serves one lane thread at a time; parallel lanes to one peer use one each.

PS3.4 B.2.3 (statuses of the Storage Service Class), PS3.7 9.1.1.1.9 and Annex C (general statuses).

Statuses beside 0000 and Bxxx, and why they are split as they are:

====================  =========  ==================================================================
status                raised     reason
====================  =========  ==================================================================
A9xx                  permanent  the data set does not match its SOP class: a property of the bytes
0106 0115 0117 0120   permanent  an attribute value, argument, instance UID or missing attribute of
0121 0212                        these bytes is refused
0111                  permanent  another instance stands there under this UID: a person must look
0112 0118 0119 0122   permanent  the peer does not take this SOP class or instance
0210 0211             permanent  the request itself is refused as a request
A7xx 0213             transient  out of resources
0110 0124             transient  processing failure, not authorised: states of the peer, not the bytes
Cxxx                  transient  "cannot understand", which archives also answer for passing states
anything else         transient  retrying loses nothing, giving up might
====================  =========  ==================================================================
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from broker.dicom import pdu, status, uid
from broker.errors import DeliveryError, PermanentDeliveryError, TransientDeliveryError
from broker.net.instance_file import opened
from broker.net.requestor import MAX_CONTEXTS, Requestor
from broker.net.tls import PeerTls

PERMANENT = frozenset(
    (0x0106, 0x0111, 0x0112, 0x0115, 0x0117, 0x0118, 0x0119, 0x0120, 0x0121, 0x0122, 0x0210, 0x0211, 0x0212)
)
"""Statuses that speak of these bytes, beside A9xx: the table above."""

_VERIFICATION = pdu.Context(uid.VERIFICATION, uid.IMPLICIT_LITTLE_ENDIAN)


def failure(code: int, said: str) -> DeliveryError:
    """What a status that is neither 0000 nor Bxxx means for the lane; `said`: the words before it."""
    text = f"{said} {status.describe(code)}"
    if code in PERMANENT or code >> 8 == 0xA9:
        return PermanentDeliveryError(text)
    return TransientDeliveryError(text)


class StoreScu:
    """A storage SCU for one peer. Opens nothing before the first `send` or `echo`."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        called_aet: str,
        calling_aet: str = "BROKER",
        connect_timeout: float = 5.0,
        response_timeout: float = 60.0,
        idle_timeout: float = 30.0,
        max_pdu: int = pdu.MAX_PDU,
        tls: PeerTls | None = None,
    ) -> None:
        """Times in seconds. `response_timeout` bounds each wait for the peer to read or to answer,
        `idle_timeout` the life of an association nobody uses. `max_pdu` is the longest PDU either way."""
        self._host, self._port = host, port
        self._called_aet, self._calling_aet = called_aet, calling_aet
        self._connect_timeout, self._response_timeout = connect_timeout, response_timeout
        self._idle_timeout = idle_timeout
        self._max_pdu = max_pdu
        self._tls = tls
        self._lock = threading.Lock()
        self._association: Requestor | None = None
        # Contexts to propose at the next opening, in the order of their last use.
        self._wanted: dict[pdu.Context, None] = {}
        self._last_use = 0.0
        self._idle_timer: threading.Timer | None = None

    def send(self, source: Path | BinaryIO, confirm: Callable[[], None] = lambda: None) -> int:
        """Stores the instance in a Part 10 file (`broker.net.instance_file.opened`); the status, 0000 or Bxxx.

        `confirm` is that of `Requestor.store`. Raises `TransientDeliveryError` (no association, broken off, timed out,
        or a passing status), `PermanentDeliveryError` (presentation context refused, or a lasting status) or
        `AskPersonError` (file missing or broken: nothing that the peer could be blamed for).
        """
        with self._lock, opened(source) as instance:
            meta = instance.meta
            context = pdu.Context(meta.sop_class_uid, meta.transfer_syntax_uid)
            instance.file.seek(meta.dataset_offset)
            with self._association_for(context) as (association, context_id):
                code = association.store(
                    instance.file,
                    instance.size - meta.dataset_offset,
                    context_id=context_id,
                    sop_class_uid=meta.sop_class_uid,
                    sop_instance_uid=meta.sop_instance_uid,
                    confirm=confirm,
                )
        if code == status.SUCCESS or code >> 12 == 0xB:
            return code
        raise failure(code, "C-STORE answered with status")

    def echo(self) -> None:
        """C-ECHO. Raises `TransientDeliveryError` when the peer does not answer it with 0000."""
        with self._lock, self._association_for(_VERIFICATION) as (association, context_id):
            code = association.echo(context_id)
        if code != status.SUCCESS:
            raise TransientDeliveryError(f"C-ECHO answered with status {status.describe(code)}")

    def close(self) -> None:
        """Releases the association. Idempotent; a later `send` opens a new one."""
        with self._lock:
            self._drop()

    @contextlib.contextmanager
    def _association_for(self, context: pdu.Context) -> Iterator[tuple[Requestor, int]]:
        """The open association and the id of `context` on it; a failure inside ends the association."""
        association = self._open(context)
        if context not in association.accepted:
            # Asked again when another object needs it: the peer's configuration may have changed by then.
            del self._wanted[context]
            raise PermanentDeliveryError(
                f"{self._called_aet} refuses SOP class {context.abstract_syntax} in transfer syntax "
                f"{context.transfer_syntax}"
            )
        try:
            yield association, association.accepted[context]
        except BaseException:
            association.abort()
            self._association = None
            raise
        self._last_use = time.monotonic()

    def _open(self, context: pdu.Context) -> Requestor:
        self._wanted.pop(context, None)
        self._wanted[context] = None
        if self._association is not None:
            if self._association.usable() and context in self._association.accepted:
                return self._association
            self._drop()
        self._wanted = dict.fromkeys(list(self._wanted)[-MAX_CONTEXTS:])
        self._association = Requestor(
            self._host,
            self._port,
            called_aet=self._called_aet,
            calling_aet=self._calling_aet,
            contexts=tuple(self._wanted),
            connect_timeout=self._connect_timeout,
            response_timeout=self._response_timeout,
            max_pdu=self._max_pdu,
            tls=self._tls,
        )
        self._last_use = time.monotonic()
        self._watch(self._idle_timeout)
        return self._association

    def _drop(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if self._association is not None:
            self._association.release()
            self._association = None

    def _watch(self, seconds: float) -> None:
        """One timer per association, set again for the remainder when the association was used meanwhile."""
        self._idle_timer = threading.Timer(seconds, self._close_idle)
        self._idle_timer.daemon = True
        self._idle_timer.start()

    def _close_idle(self) -> None:
        with self._lock:
            if self._idle_timer is not threading.current_thread():
                return
            rest = self._last_use + self._idle_timeout - time.monotonic()
            if self._association is not None and rest > 0:
                self._watch(rest)
            else:
                self._drop()
