"""Asks the broker that runs on this machine what a device asked last: only its process remembers that.

A row is a patient's: it goes in the body of the request, to this machine, and into no address.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any, Final

from broker.runtime.web import ASKED
from broker.settings import Settings
from broker.why.facts import Device
from broker.why.reading import AskDevice

_SECONDS: Final = 5
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def asking(settings: Settings, until: str = "") -> AskDevice:
    """How to ask; of a past moment only what had been asked by then counts."""
    bind = settings.broker.bind
    host, port = _ANY.get(bind, bind), settings.broker.http.port

    def ask(aet: str, row: Mapping[str, Any] | None) -> tuple[tuple[Device, ...], str]:
        try:
            found = _post(host, port, {"ae": aet, "row": row})
        except (OSError, http.client.HTTPException, ValueError):
            return (), f"what {aet} asked is not known: no broker answers on http://{host}:{port}"
        devices = tuple(
            Device(
                at=one["at"],
                answers=one["answers"],
                whole=one["whole"],
                lossy=one["lossy"],
                limited=one["limited"],
                asked=tuple(one["asked"]),
                charset=one["charset"],
                keys=tuple(one["keys"]),
            )
            for one in found["queries"]
            if not until or one["at"] < until
        )
        return devices, ""

    return ask


def _post(host: str, port: int, question: Mapping[str, Any]) -> Any:
    """Raises `OSError`, `HTTPException` or `ValueError` where there is no answer to be had."""
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
    try:
        connection.request("POST", ASKED, json.dumps(question).encode())
        response = connection.getresponse()
        body = response.read()
        if response.status != http.client.OK:
            raise ValueError(response.status)
        return json.loads(body)
    finally:
        connection.close()
