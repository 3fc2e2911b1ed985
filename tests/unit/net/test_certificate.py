"""When certificates are valid, of files that OpenSSL made; anything else is told apart from a certificate."""

from __future__ import annotations

import base64
import re
import ssl
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.net.certificate import validities
from tests.support.certificates import Authority
from tests.support.needs import needs


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def dates(file: Path) -> tuple[datetime, datetime]:
    """As OpenSSL says."""
    command = [needs("openssl"), "x509", "-in", file, "-noout", "-dates"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = [
        datetime.strptime(f"{one}+0000", "%b %d %H:%M:%S %Y GMT%z") for one in re.findall(r"=(.*)", text)
    ]
    return found[0], found[1]


@pytest.mark.parametrize("days", [1, 400, 365 * 60], ids=["day", "year", "after 2049"])
def test_a_certificate_of_any_length(authority: Authority, days: int) -> None:
    file = authority.issue(f"of-{days}", days=days).certificate
    (found,) = validities(file.read_text())
    assert (found.begin, found.end) == dates(file)
    assert found.end - found.begin == timedelta(days=days)


def test_each_certificate_of_a_chain(authority: Authority) -> None:
    own = authority.issue("own", days=1).certificate
    found = validities(f"of the server:\n{own.read_text()}\n{authority.file.read_text()}")
    assert [(one.begin, one.end) for one in found] == [dates(own), dates(authority.file)]


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nTUlJ"])
def test_a_file_without_one(text: str) -> None:
    with pytest.raises(ValueError, match="the file holds no certificate"):
        validities(text)


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"\x30\x82\x01\x00\x30\x20" + rest))
def test_what_is_none_inside(content: bytes) -> None:
    pem = base64.b64encode(content).decode()
    with pytest.raises(ValueError, match="a certificate of the file cannot be read"):
        validities(f"-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n")


def test_one_that_is_cut_short_anywhere(authority: Authority) -> None:
    whole = ssl.PEM_cert_to_DER_cert(authority.file.read_text())
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="cannot be read"):
            validities(ssl.DER_cert_to_PEM_cert(whole[:length]))
