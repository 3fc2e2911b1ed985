"""Identity numbers made by the published rules, on their own, so that they can be held against the broker's reading."""

from __future__ import annotations


def check_digits(first: str, remainder: int = 0) -> str | None:
    """Nine digits with their two check digits; None where the rules give none. `remainder`: 1 to 3 by the 2032 rule."""
    digits = [int(digit) for digit in first]
    k1 = (remainder - sum(d * w for d, w in zip(digits, (3, 7, 6, 1, 8, 9, 4, 5, 2), strict=True))) % 11
    k2 = -sum(d * w for d, w in zip([*digits, k1], (5, 4, 3, 2, 7, 6, 5, 4, 3, 2), strict=True)) % 11
    return None if 10 in (k1, k2) else f"{first}{k1}{k2}"


def valid(first: str) -> str:
    """Six digits of a date, or the first six of another number, made whole with the first serial that is possible."""
    return next(number for serial in range(1000) if (number := check_digits(f"{first}{serial:03}")))


def duf(year: int, serial: str) -> str:
    """A DUF number: the year, six digits, and two that check them."""
    weights = (4, 6, 3, 2, 7, 5, 4, 6, 3, 2)
    total = sum(int(d) * w for d, w in zip(f"{serial}{year}", weights, strict=True))
    return f"{year}{serial}{total % 11:02}"
