"""The Part 10 file of an instance that is about to leave, and whose fault it is where it cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from broker.dicom import elements
from broker.dicom.elements import Meta
from broker.errors import AskPersonError, RemoteProtocolError, TransientDeliveryError


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFile:
    """An open file; `size` in bytes, all of it."""

    file: BinaryIO
    meta: Meta
    size: int


@contextmanager
def opened(source: Path | BinaryIO) -> Iterator[InstanceFile]:
    """The file, with what its head says. What reading it raises within becomes an error of the delivery.

    One that is open already stays so; it may stand on no disk.

    Raises `AskPersonError` (missing or broken: nothing that the peer could be blamed for) or `TransientDeliveryError`
    (it cannot be read).
    """
    try:
        with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
            meta, size = elements.read_meta(file), file.seek(0, os.SEEK_END)
            named = meta.sop_class_uid and meta.sop_instance_uid and meta.transfer_syntax_uid
            if not named or size == meta.dataset_offset:
                raise RemoteProtocolError("no data set, or a UID is missing from the file meta information")
            yield InstanceFile(file=file, meta=meta, size=size)
    except FileNotFoundError as error:
        raise AskPersonError("the instance's file is gone") from error
    except RemoteProtocolError as error:
        raise AskPersonError(f"the instance's file is broken: {error}") from error
    except OSError as error:
        raise TransientDeliveryError("the instance's file cannot be read") from error
