"""The object that leaves for an archive: the kept file, with what PAS says put in as it is read. Not here: the way
it leaves. Nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from pydantic import Field

from adapters.pacs.spool import FOLDER
from broker.adapter import Delivery, OutboundContext, Receipt
from broker.dicom import attributes as dicom
from broker.dicom import coerce
from broker.dicom.charset import Term
from broker.errors import AskPersonError, RemoteProtocolError, TransientDeliveryError

CHARSETS: Final[Any] = Field(
    default=coerce.LADDER,
    description="Specific Character Sets that it takes, in order of preference, where an object's own cannot show"
    " what PAS says (docs/charsets.md). An object whose own can keeps it.",
)
"""The option `charsets` of an archive, whatever it speaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """A Part 10 file to send."""

    file: BinaryIO
    """Open as long as the delivery is under way."""
    lossy: bool
    """It says what PAS says in other letters, or with a name cut."""

    def receipt(self, said: str) -> Receipt:
        """That the archive took it, and what it said."""
        detail = f"{said}; sent with a name transliterated or cut" if self.lossy else said
        return Receipt(detail=detail, lossy=self.lossy)


class CoercedObjects:
    """What `adapters.pacs.render.render_instance` ordered, made from the kept file."""

    def __init__(self, charsets: tuple[Term, ...], context: OutboundContext) -> None:
        self._charsets = charsets
        self._spool = context.spool

    @contextmanager
    def of(self, delivery: Delivery) -> Iterator[Leaving]:
        """The object of a delivery.

        Raises `TransientDeliveryError` (the spool is not there, the file cannot be read) or `AskPersonError` (the kept
        file is gone, or cannot be coerced).
        """
        order = json.loads(delivery.payload)
        with self._opened(order["path"]) as kept:
            yield Leaving(file=kept, lossy=False) if order["coerce"] is None else self._coerced(kept, order)

    def _opened(self, path: str) -> BinaryIO:
        try:
            return (self._spool / path).open("rb")
        except FileNotFoundError as exc:
            # Looked at behind it: of a share that has just gone every object would seem to be gone.
            if not (self._spool / FOLDER).is_dir():
                raise TransientDeliveryError("the spool is not there: is it mounted?") from exc
            raise AskPersonError("the kept file of the instance is gone") from exc
        except OSError as exc:
            raise TransientDeliveryError(f"the instance cannot be read: {type(exc).__name__}") from exc

    def _coerced(self, kept: BinaryIO, order: dict[str, str]) -> Leaving:
        """With what PAS says and without contact data."""
        coercion = coerce.Coercion(
            attributes=dicom.from_json(json.dumps(order["coerce"])), charsets=self._charsets
        )
        try:
            splice = coerce.plan(kept, coercion, now=order["time"], source=order["source"], system="BROKER")
            if splice is None:
                return Leaving(file=kept, lossy=False)
            return Leaving(file=coerce.opened(kept, splice), lossy=splice.lossy)
        except RemoteProtocolError as exc:
            raise AskPersonError(f"the instance cannot be coerced: {exc}") from exc
        except OSError as exc:
            raise TransientDeliveryError(f"the instance cannot be read: {type(exc).__name__}") from exc
