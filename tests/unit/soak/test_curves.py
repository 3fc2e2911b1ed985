"""What counts as flat: noise, a lonely peak and a start that fills up; and what does not: growth, however noisy."""

from __future__ import annotations

import random

import pytest

from tests.soak.curves import Sample, judged

MB = 2**20


def sample(at: float, **fields: float) -> Sample:
    given = {"files": 300, "threads": 320, "memory": 120 * MB, "incoming": 0} | fields
    return Sample(at=at, **{name: int(value) for name, value in given.items()})


def grown(samples: list[Sample]) -> list[str]:
    return [curve.name for curve in judged(samples) if not curve.flat]


@pytest.mark.parametrize("seed", range(10))
def test_noise_and_peaks_are_flat(seed: int) -> None:
    dice = random.Random(seed)
    samples = [
        sample(at, files=300 + dice.gauss(0, 8), threads=320 + dice.gauss(0, 8), incoming=dice.randint(0, 9))
        for at in range(120)
    ]
    for place in dice.sample(range(120), 10):
        samples[place] = sample(place, files=900, threads=900, memory=500 * MB)
    assert grown(samples) == []


def test_a_start_that_fills_up_is_flat() -> None:
    samples = [
        sample(at, files=min(at * 10, 400), threads=min(at * 10, 400), memory=min(at, 50) * 3 * MB)
        for at in range(120)
    ]
    assert grown(samples) == []


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    ("name", "a_second"), [("files", 0.5), ("threads", 0.5), ("memory", MB), ("incoming", 0.2)]
)
def test_what_grows_is_found_among_noise(seed: int, name: str, a_second: float) -> None:
    dice = random.Random(seed)
    noise = 4 * MB if name == "memory" else 6
    level = getattr(sample(0), name)
    samples = [sample(at, **{name: level + a_second * at + dice.gauss(0, noise)}) for at in range(120)]
    assert grown(samples) == [name]


def test_too_few_samples_say_nothing() -> None:
    with pytest.raises(ValueError, match="7 samples"):
        judged([sample(at) for at in range(7)])
