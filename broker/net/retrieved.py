"""The objects that a C-GET brings: each received into a file of its own, and given to whoever asked for it.

The storage SCP of one association that this side opened (PS3.4 C.4.3.3); no data set is decoded or held in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from broker.dicom import part10, pdu, status, uid
from broker.dicom.command import Command, Message
from broker.errors import RemoteProtocolError
from broker.net.incoming import Incoming
from broker.net.service import StoreRequest

Take = Callable[[StoreRequest], int]
"""What becomes of a complete object, and the status to answer: it moves the file away, or the file goes. An `OSError`
is answered A700."""


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
        head = part10.head(
            sop_class_uid=request.sop_class_uid,
            sop_instance_uid=request.sop_instance_uid,
            transfer_syntax_uid=self._context(context_id).transfer_syntax,
            calling_aet=self._archive,
        )
        incoming = Incoming(self._folder, lambda: None, head)
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
