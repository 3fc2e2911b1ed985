"""What the settings and the adapters declare around the routes, for the linter. Opens nothing.

Options are known by their names, whoever's adapter they are of: `…_timeout` of a destination, `charsets` of a
listener that answers for a worklist and of an HL7 destination.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from broker.dicom import charset as dicom_charset
from broker.errors import Fault
from broker.event import BY_TIME, CLOCK
from broker.hl7 import charset as hl7_charset
from broker.routing.surroundings import Source, Surroundings
from broker.runtime.configured import shown
from broker.settings import OutboundSetting, Settings
from broker.yamlfile.document import Document
from broker.yamlfile.reading import load


def surroundings_of(settings: Settings, env: Mapping[str, str]) -> Surroundings:
    """Listeners with the events they make, destinations with what they can show, and what is hardly meant there."""
    document = load(settings.file, env=env, name=shown(settings.file))
    sources = {
        setting.name: Source(
            site=getattr(setting.config, "site", "") or settings.broker.site,
            makes=setting.spec.made(setting.config),
        )
        for setting in settings.inbound
    }
    sources[CLOCK] = Source(site=settings.broker.site, makes={CLOCK: BY_TIME})
    return Surroundings(
        sources=sources,
        charsets={s.name: sets for s in settings.outbound if (sets := _charsets(settings, s))},
        texts={document.file: document.source},
        faults=tuple(_without_timeout(document, settings)),
    )


def _charsets(settings: Settings, destination: OutboundSetting) -> dict[str, str]:
    """Character set to Python codec. Rows of a worklist are answered in one of those that its listeners declare."""
    if destination.spec.kind == "worklist":
        terms = [term for s in settings.inbound for term in getattr(s.config, "charsets", ())]
        return {term: dicom_charset.codec(term) for term in terms}
    names = getattr(destination.config, "charsets", ()) if destination.spec.kind == "hl7" else ()
    return {name: hl7_charset.codec(name) for name in names}


def _without_timeout(document: Document, settings: Settings) -> Iterator[Fault]:
    for setting in settings.outbound:
        for name in type(setting.config).model_fields:
            value = getattr(setting.config, name)
            if name.endswith("timeout") and not value:
                yield document.fault(
                    ("outbound", setting.name, name),
                    f"'{name}' of '{setting.name}' is {'unset' if value is None else 'nothing'}",
                    f"Write {name}: 30s, or what its receiver needs.",
                    code="no-timeout",
                    severity="warning",
                )
