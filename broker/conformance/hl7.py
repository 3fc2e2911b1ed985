"""The HL7 v2 profile: what the listeners take, refuse, read and answer, and what the destinations are sent. Pure.

Fields read are found by watching the mappings (`reading.py`), fields sent in what the routes' tests made, answers by
asking the code that gives them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Final, get_args

from broker import contact
from broker.conformance.document import Document, Section, Table
from broker.conformance.facts import Facts, options
from broker.conformance.reading import Read, fields_read
from broker.errors import AckCode, PermanentDeliveryError
from broker.hl7 import ack, charset
from broker.hl7.er7 import Header, Message, Separators
from broker.net.hl7_sender import failure
from broker.reception import VERSIONS, Hl7Reader
from broker.settings import InboundSetting, OutboundSetting

_CONDITIONS: Final = ("AL", "NE", "ER", "SU")


def statement(facts: Facts) -> Document:
    """The whole profile."""
    listeners = [s for s in facts.inbound if _takes_hl7(facts, s)]
    destinations = [s for s in facts.outbound if s.spec.kind == "hl7"]
    overview = tuple(
        (s.name, s.spec.summary, f"MLLP, port {getattr(s.config, 'port', '') or 'as the start prints it'}")
        for s in listeners
    ) + tuple((s.name, s.spec.summary, "MLLP, sender") for s in destinations)
    return Document(
        title="HL7 v2 profile",
        text=(facts.product,),
        sections=(
            Section(
                title="Interfaces",
                tables=(Table(columns=("name", "what it is", "transport"), rows=overview),),
            ),
            _common(),
            *(_listener(facts, s) for s in listeners),
            *(_destination(facts, s) for s in destinations),
            _contact(),
            _acknowledged(),
        ),
    )


def _takes_hl7(facts: Facts, setting: InboundSetting) -> bool:
    reader = facts.configured.readers.get(setting.name)
    return isinstance(reader, Hl7Reader) or bool(setting.spec.statement(setting.config).answers)


def _common() -> Section:
    codes = tuple(ack.TABLE_0357.items())
    return Section(
        title="What holds for every listener",
        points=(
            f"MSH-12: `{VERSIONS.pattern}`; anything else is refused (AR, 203). ER7 only, with whatever separators MSH"
            " names.",
            "A message type or trigger that is not listed is refused (AR: 200, 201); content that a person must put"
            " right is refused (AE). Nothing is acknowledged before it is synced to disk.",
            "The same MSH-3, MSH-4 and MSH-10 with the same bytes get the stored answer; with other bytes AE.",
            'A batch (FHS, BHS) is answered as one, member by member. Empty fields change nothing, `""` clears.',
        ),
        sections=(
            Section(
                title="Acknowledgement codes",
                text=("MSA-1 by what MSH-15 and MSH-16 ask for, and by what became of the message.",),
                tables=(_answers(),),
            ),
            Section(
                title="Character sets",
                text=(
                    "Names in MSH-18 are compared without blanks, signs and case. Where it is empty: UTF-8 where the"
                    " bytes are that, else the listener's `charset`. Another name is refused (AE).",
                ),
                tables=(_charsets(),),
            ),
            Section(
                title="Error codes", tables=(Table(columns=("ERR-3 (table 0357)", "meaning"), rows=codes),)
            ),
        ),
    )


def _charsets() -> Table:
    names: dict[str, list[str]] = {}
    for name, codec in charset.NAMES:
        names.setdefault(codec, []).append(name)
    rows = tuple((codec, ", ".join(found)) for codec, found in names.items())
    return Table(columns=("read as", "MSH-18"), rows=rows)


def _answers() -> Table:
    outcomes = get_args(AckCode)
    asked = [("", ""), *product(_CONDITIONS, _CONDITIONS)]
    rows = []
    for accept, application in asked:
        header = Header(separators=Separators(), accept_ack=accept, application_ack=application)
        given = (", ".join(ack.answers(header, outcome)) or "nothing" for outcome in outcomes)
        rows.append((accept or "empty", application or "empty", *given))
    return Table(
        columns=("MSH-15", "MSH-16", *(f"outcome {outcome}" for outcome in outcomes)), rows=tuple(rows)
    )


def _listener(facts: Facts, setting: InboundSetting) -> Section:
    said = setting.spec.statement(setting.config)
    reader = facts.configured.readers.get(setting.name)
    sections = []
    if isinstance(reader, Hl7Reader):
        makes = setting.spec.made(setting.config) or {}
        taken = tuple(
            (kind, ", ".join(makes.get(kind, ())) or "none", said.means.get(kind, ""))
            for kind in sorted(reader.mappers)
            if kind not in said.refuses
        )
        sections.append(
            Section(
                title="Messages taken", tables=(Table(columns=("message", "events", "meaning"), rows=taken),)
            )
        )
        refused = tuple(sorted(said.refuses.items()))
        if refused:
            rows = Table(columns=("message", "why"), rows=refused)
            sections.append(Section(title="Messages refused", tables=(rows,)))
        sections.append(_read(fields_read(reader, facts.given.get(setting.name, ()))))
    if said.answers:
        rows = Table(columns=("query", "answer"), rows=tuple(said.answers.items()))
        sections.append(Section(title="Queries answered", points=said.remarks, tables=(rows,)))
    sections.append(Section(title="Options", tables=(options(setting),)))
    return Section(title=f"Listener `{setting.name}`: {setting.spec.summary}", sections=tuple(sections))


def _read(found: Mapping[str, Read]) -> Section:
    """Messages whose fields are the same are one row."""
    if not any(found.values()):
        return Section(
            title="Fields read", text=("Not known: no test of a route has a message of this listener.",)
        )
    alike: dict[tuple[tuple[str, tuple[int, ...]], ...], list[str]] = {}
    for kind, read in sorted(found.items()):
        if read:
            alike.setdefault(tuple(read.items()), []).append(kind)
    rows = tuple(
        (", ".join(_short(kinds)), "; ".join(f"{name}-{_numbers(fields)}" for name, fields in read))
        for read, kinds in alike.items()
    )
    return Section(
        title="Fields read",
        text=(
            "Beside MSH. What is not listed is not looked at; it is kept, and leaves where a route passes the message"
            " on.",
        ),
        tables=(Table(columns=("messages", "fields"), rows=rows),),
    )


def _short(kinds: Iterable[str]) -> Iterator[str]:
    """`ADT^A01`, then `A02`: the code once."""
    last = ""
    for kind in kinds:
        code, _, trigger = kind.partition("^")
        yield trigger if code == last else kind
        last = code


def _numbers(fields: Iterable[int]) -> str:
    return ", ".join(map(str, fields))


def _destination(facts: Facts, setting: OutboundSetting) -> Section:
    routes = tuple(
        (route.name, ", ".join(route.events), target.send or "", target.purpose)
        for route in facts.configured.routes.routes
        for target in route.targets
        if route.enabled and target.destination == setting.name
    )
    sends = Table(columns=("route", "events", "message", "purpose"), rows=routes)
    built = {target.send for route in facts.configured.routes.routes for target in route.targets} - {
        "",
        "source",
    }
    rows = tuple(
        (
            kind,
            "; ".join(
                f"{name}-{_numbers(fields)}" for name, fields in _sent(facts, setting.name, kind).items()
            ),
        )
        for kind in sorted(built)
    )
    return Section(
        title=f"Destination `{setting.name}`: {setting.spec.summary}",
        text=(
            "`source`: the message that caused the event, as its sender wrote it; with purpose `care` it loses what"
            " the section on `contact` lists. One message in flight per connection; in order per patient.",
        ),
        tables=(sends, Table(columns=("message built", "fields that may have a value"), rows=rows)),
        sections=(Section(title="Options", tables=(options(setting),)),),
    )


def _sent(facts: Facts, destination: str, kind: str) -> Read:
    """Fields with a value in what the tests made of this type for this destination."""
    found: dict[str, set[int]] = {}
    for output in facts.outputs:
        if output.destination != destination or not output.payload:
            continue
        message = Message.parse(output.payload)
        if message.header.message_type != kind or not _is_built(facts, output.route, kind):
            continue
        for segment in message:
            numbers = (number for number in range(1, len(segment.fields)) if segment.text(number))
            found.setdefault(segment.name, set()).update(numbers)
    return {name: tuple(sorted(fields)) for name, fields in found.items()}


def _is_built(facts: Facts, route: str, kind: str) -> bool:
    return any(target.send == kind for target in facts.configured.routes[route].targets)


def _contact() -> Section:
    fields: dict[str, list[int]] = {}
    for segment, number in sorted(contact.FIELDS):
        fields.setdefault(segment, []).append(number)
    listed = "; ".join(f"{segment}-{_numbers(numbers)}" for segment, numbers in fields.items())
    return Section(
        title="What leaves only with purpose `contact`",
        text=(f"Segments {', '.join(sorted(contact.SEGMENTS))} and all Z-segments; fields {listed}.",),
    )


def _acknowledged() -> Section:
    """What an answer of a destination comes to: asked of the code that decides it."""
    rows = [("AA, CA", "delivered")]
    for code, error in (("AE", ""), ("AR", ""), ("CR", ""), ("CE", ""), ("AE", "206")):
        verdict = failure(ack.Acknowledgement(code=code, control_id="", error_code=error))
        lasting = isinstance(verdict, PermanentDeliveryError)
        what = "tried again a few times, then held for a person" if lasting else "tried again"
        rows.append((f"{code}, error {error}" if error else code, what))
    return Section(
        title="What an acknowledgement of a destination means",
        tables=(Table(columns=("MSA-1", "what becomes of the message"), rows=tuple(rows)),),
    )
