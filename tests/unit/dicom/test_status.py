"""`broker.dicom.status`: every value has exactly one class, and only 0000 is success."""

from __future__ import annotations

import pytest

from broker.dicom import status


def test_no_value_has_two_classes() -> None:
    for value in range(0x10000):
        classes = [
            status.is_success(value),
            status.is_pending(value),
            status.is_warning(value),
            value == status.CANCEL,
        ]
        assert classes.count(True) <= 1, f"{value:04X}"


@pytest.mark.parametrize(
    "value", [0xA700, 0xA7FF, 0xA900, 0xC000, 0xCFFF, 0x0110, 0x0122, 0x0111, 0x1234, 0xFFFF]
)
def test_failures(value: int) -> None:
    for other in (status.is_success, status.is_pending, status.is_warning):
        assert not other(value)


@pytest.mark.parametrize("value", [0xB000, 0xB006, 0xB007, 0xB001, 0x0001])
def test_warnings_are_no_success(value: int) -> None:
    assert status.is_warning(value)
    assert not status.is_success(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0x0000, "0000 success"),
        (0xA700, "A700 out of resources"),
        (0xA7AB, "A7AB out of resources"),
        (0xA901, "A901 data set does not match SOP class"),
        (0xC123, "C123 cannot understand"),
        (0xB123, "B123 warning"),
        (0x0999, "0999 failure"),
    ],
)
def test_described(value: int, text: str) -> None:
    assert status.describe(value) == text
