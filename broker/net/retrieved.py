"""The objects that a C-GET brings: in which contexts they may come, and each into a file of its own.

The storage SCP of one association that this side opened (PS3.4 C.4.3.3); no data set is decoded or held in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from broker.dicom import part10, pdu, status, uid
from broker.dicom.command import Command, Message
from broker.errors import RemoteProtocolError
from broker.net.incoming import Incoming
from broker.net.service import StoreRequest

Take = Callable[[StoreRequest], int]
"""What becomes of a complete object, and the status to answer: it moves the file away, or the file goes. An `OSError`
is answered A700."""


SYNTAXES: Final = (
    uid.EXPLICIT_LITTLE_ENDIAN,
    uid.IMPLICIT_LITTLE_ENDIAN,
    *(f"1.2.840.10008.1.2.4.{number}" for number in (70, 50, 90, 91, 80, 81, 57, 51)),
    "1.2.840.10008.1.2.5",
    uid.DEFLATED_LITTLE_ENDIAN,
    *(f"1.2.840.10008.1.2.4.{number}" for number in (102, 103, 104, 105, 106, 100, 101, 107, 108)),
    *(f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203)),
    uid.EXPLICIT_BIG_ENDIAN,
)
"""Transfer syntaxes in which objects may come, the commonest first (PS3.5 10, A)."""

COMMON: Final = tuple(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in (
        *("2", "2.1", "4", "4.1", "1", "1.1", "1.2", "6.1", "3.1", "7", "7.2", "7.4", "12.1", "12.2", "20"),
        *("128", "77.1.1", "77.1.4", "77.1.5.1", "77.1.5.4", "88.11", "88.22", "88.33", "88.59", "88.67"),
        *("11.1", "104.1", "9.1.1", "481.1", "481.3", "481.5"),
    )
)
"""Storage SOP classes of most of what hospitals have: CT, MR, CR, DX, mammography, ultrasound, secondary capture, XA,
RF, NM, PET, endoscopy, photographs, eyes, reports, key objects, presentation states, PDF, ECG, radiotherapy."""


def proposed(classes: Sequence[str], room: int) -> list[pdu.Context]:
    """The contexts in which objects of these classes may come, `room` at most.

    Each of one transfer syntax, so that the archive can send each object as it keeps it. Where there are many classes
    the rarest syntaxes find no place. An archive that named no class may send what is `COMMON`.
    """
    named = tuple(dict.fromkeys(one for one in classes if uid.valid(one))) or COMMON
    return [pdu.Context(one, syntax) for syntax in SYNTAXES for one in named][:room]


class Receiver:
    """The storage SCP of one C-GET (`broker.net.requestor.Receiver`)."""

    def __init__(
        self,
        folder: Path,
        archive: str,
        contexts: Mapping[int, pdu.Context],
        take: Take,
    ) -> None:
        self._folder, self._archive = folder, archive
        self._contexts = contexts
        self._take = take
        self._incoming: set[Incoming] = set()
        self.taken: set[str] = set()
        """SOP Instance UIDs of the objects that were taken."""

    def place(self, context_id: int, request: Command) -> Incoming:
        """A new file, its head written."""
        syntax = self._context(context_id).transfer_syntax
        head = part10.head(
            sop_class_uid=request.sop_class_uid,
            sop_instance_uid=request.sop_instance_uid,
            transfer_syntax_uid=syntax,
            calling_aet=self._archive,
        )
        incoming = Incoming(self._folder, lambda: None, head, part10.digest(syntax))
        self._incoming.add(incoming)
        return incoming

    def store(self, message: Message) -> int:
        """The status of a complete object."""
        incoming, context = message.dataset, self._context(message.context_id)
        if not isinstance(incoming, Incoming):
            return status.CANNOT_UNDERSTAND
        try:
            incoming.close()
            if incoming.error is not None:
                return status.OUT_OF_RESOURCES
            sop_class, instance = message.command.sop_class_uid, message.command.sop_instance_uid
            if not uid.valid(instance) or sop_class != context.abstract_syntax:
                return status.CANNOT_UNDERSTAND
            code = self._take(
                StoreRequest(
                    sop_class_uid=sop_class,
                    sop_instance_uid=instance,
                    transfer_syntax_uid=context.transfer_syntax,
                    path=incoming.path,
                    dataset_offset=incoming.dataset_offset,
                    sha256=incoming.digest.hexdigest(),
                )
            )
        except OSError:
            return status.OUT_OF_RESOURCES
        finally:
            incoming.remove()
            self._incoming.discard(incoming)
        if status.is_success(code):
            self.taken.add(instance)
        return code

    def close(self) -> None:
        """Files that were never completed go."""
        for incoming in self._incoming:
            incoming.remove()

    def _context(self, context_id: int) -> pdu.Context:
        try:
            return self._contexts[context_id]
        except KeyError:
            raise RemoteProtocolError("object in a presentation context that was not accepted") from None


def into(folder: Path) -> Take:
    """Takes every object as `<SOP Instance UID>.dcm` in the folder, the last of one UID."""

    def take(request: StoreRequest) -> int:
        request.path.replace(folder / f"{request.sop_instance_uid}.dcm")
        return status.SUCCESS

    return take
