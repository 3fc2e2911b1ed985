"""What payloads are made of: identifiers, names, codes, and the base of all of them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Payload(BaseModel):
    """Base of every payload: frozen, strict, unknown keys refused, values never shown in errors."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


class Identifier(Payload):
    """An identifier with its issuer (HL7 CX, EI; DICOM Patient ID with issuer)."""

    value: str
    namespace: str = ""
    oid: str = ""
    oid_type: str = ""
    type_code: str = ""
    temporary: bool = False
    """The listener's settings say that it stands for somebody until it is known who that is (`identity.class_of`)."""

    @property
    def issuer(self) -> str:
        """Who issued it: the universal id where there is one, else the namespace, else empty."""
        return self.oid or self.namespace

    @property
    def key(self) -> tuple[str, str]:
        """(issuer, value): what makes two identifiers the same."""
        return (self.oid or self.namespace, self.value)


class PersonName(Payload):
    """A person's name in its parts (HL7 XPN, XCN; DICOM PN has the same five plus none for degree)."""

    family: str = ""
    given: str = ""
    middle: str = ""
    prefix: str = ""
    suffix: str = ""

    def __bool__(self) -> bool:
        return bool(self.family or self.given or self.middle)


class Code(Payload):
    """A coded concept (HL7 CE/CWE: identifier, text, coding system)."""

    code: str = ""
    text: str = ""
    system: str = ""
