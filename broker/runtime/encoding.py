"""HL7 outputs in the character sets of their destination: the last step of rendering, the same for every adapter.

A renderer works on Unicode and knows no peer; what it made is written in the first of the destination's `charsets` that
shows all of it. DICOM is encoded where it is sent, because there the object decides too. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from broker.adapter import Rendered, Renderer, Target
from broker.hl7 import charset as charsets
from broker.hl7.edit import recode
from broker.hl7.er7 import Header, Message
from broker.settings import OutboundSetting
from broker.text import encodable
from broker.view import View

UTF_8: Final = "UNICODE UTF-8"


def renderer(setting: OutboundSetting) -> Renderer:
    """How a destination's outputs are made. Options are known by their names, whoever's adapter they are of."""
    if setting.spec.kind != "hl7":
        return setting.spec.render
    names: tuple[str, ...] = getattr(setting.config, "charsets", ())

    def render(view: View, target: Target) -> Rendered:
        # What came garbled and was repaired leaves repaired.
        wanted = names or ((UTF_8,) if _repaired(view) else ())
        if wanted:
            return encoded(setting.spec.render(_in_unicode(view), target), wanted)
        return _told(setting.spec.render(view, target), _unshown(view, target))

    return render


def encoded(rendered: Rendered, names: Sequence[str]) -> Rendered:
    """The message, which is in UTF-8, in the first of these sets that shows all of it, else in the best; and MSH-18."""
    message = Message(rendered.payload, Header.read(rendered.payload), "utf-8")
    name = charsets.choose(rendered.payload.decode("utf-8"), names)
    replaced: list[str] = []
    payload = recode(message, name, on_lossy=replaced.append)
    return _told(replace(rendered, payload=payload), replaced)


def _in_unicode(view: View) -> View:
    if view.message is None:
        return view
    raw = recode(view.message, UTF_8)
    return replace(view, message=Message(raw, Header.read(raw), "utf-8"))


def _repaired(view: View) -> bool:
    return view.message is not None and view.message.charset == charsets.TWICE


def _unshown(view: View, target: Target) -> list[str]:
    """What a route sets in a message that stays in its sender's set, and cannot be shown in it."""
    if target.send != "source" or view.message is None:
        return []
    codec = view.message.charset
    return [path for path, value in target.set.items() if not encodable("".join(value), codec)]


def _told(rendered: Rendered, places: Sequence[str]) -> Rendered:
    if not places:
        return rendered
    summary = f"{rendered.summary}; transliterated: {', '.join(dict.fromkeys(places))}"
    return replace(rendered, lossy=True, summary=summary)
