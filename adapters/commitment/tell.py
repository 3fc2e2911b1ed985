"""Devices are told what they may rely on (N-EVENT-REPORT, PS3.4 J.3.3): each in a lane of its own.

Every failure is that of one device: it waits, or is held for a person, and the others are told meanwhile.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field

from broker.adapter import Delivery, Options, OutboundContext, OutboundSpec, Receipt, Rendered, Target
from broker.dicom import attributes as dicom
from broker.dicom import commitment, status, uid
from broker.dicom.aet import AeTitle
from broker.errors import (
    AskPersonError,
    PermanentDeliveryError,
    RecipientError,
    TransientDeliveryError,
    UnmappableError,
)
from broker.net import action_scu
from broker.net.tls import PeerTls, PeerTlsOption
from broker.scalars import Duration
from broker.statement import DicomService, Statement
from broker.view import View

_LATER: Final = frozenset({status.PROCESSING_FAILURE, status.RESOURCE_LIMITATION})
"""States of the device, and not of what it is told."""


class DeviceReports(Options):
    """How devices are told; where each is, `devices` says."""

    calling_aet: AeTitle = Field(default="BROKER", description="AE title we come as.")
    connect_timeout: Duration = Field(default=5.0, description="Longest wait for a connection.")
    response_timeout: Duration = Field(default=30.0, description="Longest wait for an answer.")
    tls: PeerTlsOption = Field(
        default=None, description="How devices are called over TLS whose entry says `tls`; unset: `{}`."
    )


def render_report(view: View, target: Target) -> Rendered:
    """The event information as JSON, with the AE title of whom to tell it under `requester`.

    Raises `UnmappableError`.
    """
    study = view.event.data.study
    if view.event.type != "commitment.reported" or study is None:
        raise UnmappableError(f"{target.place}: a {view.event.type} is no report to a device")
    failed = sum(1 for one in study.instances if one.failure)
    told = {"requester": study.requester, **commitment.information(study.transaction_uid, study.instances)}
    summary = f"N-EVENT-REPORT of storage commitment, {len(study.instances)} instances, {failed} failed"
    return Rendered(payload=dicom.to_json(told).encode(), summary=summary)


class ReportSender:
    """Opens an association for each report, or takes the device's own (`broker.adapter.Outbound`)."""

    def __init__(self, config: DeviceReports, context: OutboundContext) -> None:
        self._config = config
        self._context = context

    def deliver(self, delivery: Delivery) -> Receipt:
        """Tells the device."""
        information = dict(dicom.from_json(delivery.payload.decode()))
        requester = str(information.pop("requester"))
        call = action_scu.Call(type_id=commitment.event_type(information), information=information)
        code = self._told(requester, call, delivery)
        if status.is_success(code) or status.is_warning(code):
            return Receipt(detail=f"{code:04X}")
        text = f"{requester} answered N-EVENT-REPORT with status {status.describe(code)}"
        if code in _LATER:
            raise RecipientError(text)
        raise AskPersonError(
            f"{text}: look there whether it still knows its request; drop the report if it does not"
        )

    def close(self) -> None:
        """Nothing is kept open."""

    def _told(self, requester: str, call: action_scu.Call, delivery: Delivery) -> int:
        device = self._context.device(requester)
        host = device.host if device is not None else ""
        if not host or (device is not None and device.commitment == "same"):
            delivery.confirm()
            code = self._context.report(requester, call, self._config.response_timeout)
            if code is not None:
                return code
        if not host or device is None:
            raise AskPersonError(
                f"where {requester} takes reports is not known: set `devices: {{{requester}: {{host: …, port: …}}}}`,"
                " restart, and release this one"
            )
        place = action_scu.Place(
            host=host,
            port=device.port,
            called_aet=requester,
            calling_aet=self._config.calling_aet,
            connect_timeout=self._config.connect_timeout,
            response_timeout=self._config.response_timeout,
            tls=(self._config.tls or PeerTls()) if device.tls else None,
        )
        try:
            return action_scu.report(place, call, delivery.confirm).status
        except TransientDeliveryError as exc:
            raise RecipientError(f"{requester}: {exc}") from exc
        except PermanentDeliveryError as exc:
            raise AskPersonError(
                f"{exc}: let it take storage commitment from us, or set `commitment: same` if it waits for the report"
            ) from exc


STATEMENT = Statement(
    services=(
        DicomService(
            name="Storage Commitment Push Model",
            role="SCP",
            sop_classes=(uid.STORAGE_COMMITMENT,),
            operations=("N-EVENT-REPORT",),
            kept=False,
            statuses={
                status.SUCCESS: "the device was told; so is a warning (Bxxx, 0107, 0116)",
                **dict.fromkeys(sorted(_LATER), "tried again, later and later"),
            },
            remarks=(
                "Event Type ID 1 where all instances are committed to, else 2; every instance of the"
                " request stands in one of the two sequences.",
                "On a new association to the address that `devices` has for the AE title, with role selection (we are"
                " the SCP); with `commitment: same` on the association on which the device asked, as long as it is open"
                " and ends at this node.",
                "Any other status is held for a person, as is a device whose address is not known. A device that cannot"
                " be reached is tried again; others are told meanwhile.",
            ),
        ),
    )
)

OUTBOUND = OutboundSpec(
    name="device-commitment",
    summary="Storage commitment reports to devices",
    kind="dicom",
    config=DeviceReports,
    render=render_report,
    factory=ReportSender,
    takes=("commitment",),
    statement=lambda _config: STATEMENT,
)
