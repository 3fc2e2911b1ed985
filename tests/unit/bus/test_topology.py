from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.bus.topology import (
    DELIVERY_LIMIT,
    Address,
    check_pattern,
    check_queue,
    dead,
    key,
    marker,
    queue_arguments,
)
from tests.support import events


@pytest.mark.parametrize(
    ("url", "transport", "shared", "tls", "shown"),
    [
        ("memory://", "memory", False, False, "memory://"),
        ("redis://:s3cret@redis.example:6380/2", "redis", True, False, "redis://redis.example:6380/2"),
        ("rediss://redis.example", "redis", True, True, "rediss://redis.example"),
        ("amqp://u:s3cret@rabbit.example/hospital", "amqp", True, False, "amqp://rabbit.example/hospital"),
        ("amqps://u:s3%2Fcret@[2001:db8::1]:5671//", "amqp", True, True, "amqps://[2001:db8::1]:5671//"),
    ],
)
def test_an_address_is_read_and_never_shows_its_password(
    url: str, transport: str, shared: bool, tls: bool, shown: str
) -> None:
    found = Address.parse(url)

    assert (found.url, found.transport, found.shared, found.tls) == (url, transport, shared, tls)
    assert (str(found), repr(found), f"{[found]}") == (shown, shown, f"[{shown}]")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("amqb://u:s3cret@h", "must begin with memory://.*\nDid you mean 'amqp'"),
        ("http://u:s3cret@h", "must begin with memory://"),
        ("s3cret", "must begin with memory://"),
        ("amqp://u:s3cret/@h:5672", "special characters in a password"),
        ("redis://", "names no host"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_quoting_it(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as error:
        Address.parse(url)

    assert "s3cret" not in str(error.value)


def test_the_key_is_type_and_site() -> None:
    event = events.event("patient.id-changed")

    assert key(event) == "patient.id-changed.STO"
    assert key(event.model_copy(update={"site": "St. Olavs #1"})) == "patient.id-changed.St__Olavs__1"
    assert key(event.model_copy(update={"site": ""})) == "patient.id-changed._"


@given(st.text())
def test_a_key_has_three_words_whatever_the_site_is_called(site: str) -> None:
    words = key(events.event("step.changed").model_copy(update={"site": site})).split(".")

    assert len(words) == 3
    assert all(re.fullmatch(r"[^.*#\s]+", word) for word in words)


@pytest.mark.parametrize("pattern", ["#", "patient.#", "study.*.STO", "*.*.STO", "#.STO", "step.scheduled.*"])
def test_a_pattern_that_can_match(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("patient.*", "three words"),
        ("patients.#", "no event begins with 'patients'\nDid you mean 'patient'"),
        ("", "words with dots"),
        ("patient..STO", "words with dots"),
        ("pat*.#", "words with dots"),
        ("a b.#", "words with dots"),
    ],
)
def test_a_pattern_that_can_match_nothing_is_refused(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_pattern(pattern)


@pytest.mark.parametrize("name", ["", "amq.x", "x.dead", "a b", "-x", "x" * 101])
def test_a_queue_that_cannot_be_called_so(name: str) -> None:
    assert check_queue("registry.STO-1_x") == "registry.STO-1_x"
    with pytest.raises(ValueError, match="a queue's name"):
        check_queue(name)


def test_only_amqp_is_asked_for_what_only_amqp_can() -> None:
    found = queue_arguments("amqp", "registry")

    assert found["x-queue-type"] == "quorum"
    assert found["x-delivery-limit"] == DELIVERY_LIMIT - 1
    assert found["x-dead-letter-routing-key"] == "registry.dead"
    for name in (dead("registry"), marker("x")):
        assert queue_arguments("amqp", name) == {"x-queue-type": "quorum"}, "no dead letters of dead letters"
    assert queue_arguments("redis", "registry") == queue_arguments("memory", "registry") == {}
