"""The object that leaves for an archive: the kept file, or a copy with what PAS says. Not here: the way it leaves.

The copy stands in a folder of the node's own, and only as long as it is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

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
    """A DICOM file to send."""

    path: Path
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
        self._work_folder = context.work

    @contextmanager
    def of(self, delivery: Delivery) -> Iterator[Leaving]:
        """The object of a delivery; a copy is gone afterwards.

        Raises `TransientDeliveryError` (the spool is not there, the copy cannot be made) or `AskPersonError` (the kept
        file is gone, or cannot be coerced).
        """
        order = json.loads(delivery.payload)
        if not (self._spool / FOLDER).is_dir():  # else every object would seem to be gone
            raise TransientDeliveryError("the spool is not there: is it mounted?")
        kept = self._spool / order["path"]
        coerced, lossy = (None, False) if order["coerce"] is None else self._coerced(kept, order, delivery.id)
        try:
            yield Leaving(path=coerced or kept, lossy=lossy)
        finally:
            if coerced is not None:
                coerced.unlink(missing_ok=True)

    def _coerced(self, kept: Path, order: dict[str, str], delivery: int) -> tuple[Path | None, bool]:
        """A copy with what PAS says and without contact data, None where nothing is to change; whether it says so in
        other letters."""
        coercion = coerce.Coercion(
            attributes=dicom.from_json(json.dumps(order["coerce"])), charsets=self._charsets
        )
        try:
            with kept.open("rb") as source:
                splice = coerce.plan(
                    source, coercion, now=order["time"], source=order["source"], system="BROKER"
                )
                if splice is None:
                    return None, False
                self._work_folder.mkdir(parents=True, exist_ok=True)
                target = self._work_folder / f"{delivery}.dcm"
                with target.open("wb") as copy:
                    coerce.apply(source, copy, splice)
                return target, splice.lossy
        except FileNotFoundError as exc:
            raise AskPersonError("the kept file of the instance is gone") from exc
        except RemoteProtocolError as exc:
            raise AskPersonError(f"the instance cannot be coerced: {exc}") from exc
        except OSError as exc:
            raise TransientDeliveryError(f"the instance cannot be copied: {type(exc).__name__}") from exc
