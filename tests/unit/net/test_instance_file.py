"""Whose fault it is that an instance's file cannot be sent."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest

from broker.errors import AskPersonError, TransientDeliveryError
from broker.net.instance_file import opened
from broker.store.lease import LostLeaseError
from tests.support.images import write_image


def test_what_the_head_says(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.dcm")

    with opened(tmp_path / "a.dcm") as instance:
        assert instance.meta.sop_instance_uid == image.SOPInstanceUID
        assert instance.size == (tmp_path / "a.dcm").stat().st_size
        assert not instance.file.closed
    assert instance.file.closed


def test_a_file_that_is_open_already_stays_open(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.dcm")
    content = (tmp_path / "a.dcm").read_bytes()

    with BytesIO(content) as file:
        with opened(file) as instance:
            assert (instance.meta.sop_instance_uid, instance.size) == (image.SOPInstanceUID, len(content))
        assert not file.closed


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "gone"),
        (b"", "broken"),
        (b"no DICOM at all", "broken"),
        (bytes(128) + b"DICM", "no data set, or a UID"),
    ],
)
def test_one_that_is_gone_or_broken_is_for_a_person(tmp_path: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (tmp_path / "a.dcm").write_bytes(content)

    with pytest.raises(AskPersonError, match=why), opened(tmp_path / "a.dcm"):
        pytest.fail("it was opened")


def test_a_disk_that_does_not_read_is_tried_again_and_a_lost_lease_passes(tmp_path: Path) -> None:
    write_image(tmp_path / "a.dcm")

    with pytest.raises(TransientDeliveryError, match="cannot be read"), opened(tmp_path):
        pytest.fail("a folder was opened")
    with pytest.raises(TransientDeliveryError, match="cannot be read"), opened(tmp_path / "a.dcm"):
        raise OSError(5, "Input/output error")
    with pytest.raises(LostLeaseError), opened(tmp_path / "a.dcm"):
        raise LostLeaseError("way pacs 0")
