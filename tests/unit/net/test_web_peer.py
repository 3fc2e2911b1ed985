"""Options of a DICOMweb server: what is an address, and what does not go together."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from broker.net.web_peer import WebPeer


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://pacs.example/dicom-web/", "pacs.example:443"),
        ("http://pacs.example", "pacs.example:80"),
        ("https://[2001:db8::1]:8443/x", "[2001:db8::1]:8443"),
    ],
)
def test_an_address(url: str, place: str) -> None:
    peer = WebPeer(url=url)

    assert (peer.url, peer.place) == (url.rstrip("/"), place)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "pacs.example",
            "ftp://pacs.example",
            "https://",
            "https://pacs.example:port/",
            "https://pacs example",
        ),
        *(
            "https://u:p@pacs.example",
            "https://pacs.example?x=1",
            "https://pacs.example#x",
            "https://påcs.example",
        ),
        *("https://pacs.example:0", "https://pacs.example/\n"),
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ValidationError, match="must be "):
        WebPeer(url=url)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"user": "u"}, "either"),
        ({"password": "p4ssw0rd"}, "either"),
        ({"user": "u", "password": "p4ssw0rd", "token": "t0ken"}, "either"),
        ({"user": "u:v", "password": "p4ssw0rd"}, "no colon"),
        ({"token": "t0ken\r\nX: y"}, "ASCII"),
        ({"token": "t0ken", "url": "http://pacs.example"}, "https only"),
        ({"ca_file": "missing.pem"}, "not there"),
    ],
)
def test_what_does_not_go_together(options: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why) as told:
        WebPeer(**{"url": "https://pacs.example", **options})

    assert "t0ken" not in str(told.value)
    assert "p4ssw0rd" not in str(told.value)


def test_a_file_is_sought_beside_the_settings(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    peer = WebPeer.model_validate(
        {"url": "https://pacs.example", "ca_file": "ca.pem"}, context={"folder": tmp_path}
    )

    assert peer.ca_file == str(tmp_path / "ca.pem")
