"""An item as lines of text, or as one line of JSON. Pure; what may be shown of values is `mask`'s to say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from broker.tap import mask
from broker.tap.choice import Content, Item


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """What is shown of each item."""

    phi: bool = False
    """Patients' values too."""
    fields: tuple[str, ...] = ()
    """HL7 paths: of what leaves where that is HL7, else of the message that came."""
    raw: bool = False
    """The whole of it: the message, what the event says, what leaves."""
    as_json: bool = False

    @property
    def reads_message(self) -> bool:
        return bool(self.fields) or self.raw

    def lines(self, item: Item, content: Content) -> list[str]:
        """What is written for one item, each line without its end."""
        told = self._told(item, content)
        if self.as_json:
            return [json.dumps(told, ensure_ascii=False)]
        at = datetime.fromisoformat(item.at)
        when = f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"
        return [f"{when}  {_sentence(told)}", *(f"    {line}" for line in _details(told))]

    def _told(self, item: Item, content: Content) -> dict[str, Any]:
        """Everything that may leave, by name: nothing else of the item does."""
        told: dict[str, Any] = {
            "stream": item.stream,
            "at": item.at,
            "number": item.number,
            "message": item.message_id,
            "source": item.source,
            "site": item.site,
            "type": self._text(item.type, mask.message_type),
            "control_id": self._text(item.control_id, mask.control_id),
        }
        for name, value in item.said.items():
            told[name] = mask.printable(value) if isinstance(value, str) else value
        if self.reads_message:
            told |= self._values(item, content)
        return told

    def _text(self, text: str, masked: Any) -> str:
        return mask.printable(text) if self.phi else str(masked(text))

    def _values(self, item: Item, content: Content) -> dict[str, Any]:
        leaves = item.stream == "deliveries"
        raw = content.payload if leaves and item.said["kind"] == "hl7" else content.raw
        message = mask.read(raw, "" if leaves else item.charset) if raw and item.protocol == "hl7" else None
        told: dict[str, Any] = {}
        if self.fields and message is not None:
            told["fields"] = {path: mask.field(message, path, phi=self.phi) for path in self.fields}
        if not self.raw:
            return told
        if item.stream == "events":
            told["facts"] = {
                n: v for event in content.events for n, v in mask.facts(event, phi=self.phi).items()
            }
        elif leaves and item.said["kind"] != "hl7":
            told["payload"] = mask.tree(json.loads(content.payload or b"null"), phi=self.phi)
        elif message is not None:
            told["raw"] = mask.segments(message, phi=self.phi)
        else:
            told["raw"] = [_unseen(item, raw)]
        return told


def _unseen(item: Item, raw: bytes | None) -> str:
    if item.protocol != "hl7":
        return "an object, not a message"
    return "not kept any more" if raw is None else f"{len(raw)} bytes that are no message"


def _sentence(told: dict[str, Any]) -> str:
    what = f"{told['type'] or 'bytes'} {told['control_id']}".strip()
    match told["stream"]:
        case "received":
            why = f": {told['reason']}" if told["reason"] else ""
            answer = told["answer"] or "nothing"
            return f"received  {told['source']}  {what}  {told['verdict']}, answered {answer}{why}"
        case "events":
            return f"event     {told['source']}  {what}  {told['event']}"
        case _:
            tries = (
                f", attempt {told['attempt']}" if told["attempt"] > 1 or told["outcome"] == "retry" else ""
            )
            detail = f": {told['detail']}" if told["detail"] else ""
            return (
                f"delivery  {told['destination']}  {what}  {told['event']} by {told['place']}"
                f"  {told['outcome']}{tries}{detail}"
            )


def _details(told: dict[str, Any]) -> Iterator[str]:
    for name in ("fields", "facts"):
        for key, value in told.get(name, {}).items():
            yield f"{key} = {', '.join(value) if isinstance(value, list) else value}"
    yield from told.get("raw", ())
    if "payload" in told:
        yield json.dumps(told["payload"], ensure_ascii=False)
