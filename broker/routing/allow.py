"""`# lint: allow CODE REASON`: a warning that is meant to stay, silenced on its line or the one below the comment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from broker.errors import Fault, did_you_mean
from broker.routing.rules import RULES

# At the line's begin or behind white space, as YAML's comments are.
_COMMENT = re.compile(
    r"(?:^|(?<=\s))#\s*lint:\s*allow\b[ \t]*(?P<code>[^\s]*)[ \t]*(?P<reason>.*)$", re.MULTILINE
)
_NEVER = ("bad-allow", "idle-allow")


def applied(faults: Iterable[Fault], sources: Mapping[str, str]) -> tuple[list[Fault], int]:
    """What stands, with what is wrong with the comments themselves, and how many were silenced."""
    allowed: dict[tuple[str, int, str], Fault] = {}
    kept: list[Fault] = []
    for file, source in sources.items():
        for line, code, fault in _comments(file, source):
            if fault.code == "bad-allow":
                kept.append(fault)
            else:
                allowed[file, line, code] = fault
    used = set()
    silenced = 0
    for fault in faults:
        places = [(fault.file, line, fault.code) for line in (fault.line, fault.line - 1)]
        found = [place for place in places if place in allowed and fault.severity == "warning"]
        used.update(found[:1])
        silenced += bool(found)
        if not found:
            kept.append(fault)
    kept += [fault for place, fault in allowed.items() if place not in used]
    return sorted(kept, key=lambda fault: (fault.file, fault.line, fault.column)), silenced


def _comments(file: str, source: str) -> Iterator[tuple[int, str, Fault]]:
    """Line, code and, ready to be told, what is wrong: nothing but that it may be idle, or more."""
    if "lint:" not in source:
        return
    for match in _COMMENT.finditer(source):
        line = source.count("\n", 0, match.start()) + 1
        column = match.start() - source.rfind("\n", 0, match.start())
        code, hint, rule = match["code"], "", RULES.get(match["code"])
        problem, about = "idle-allow", f"there is no {code} here to allow"
        if rule is None:
            problem, about = "bad-allow", f"there is no code '{code}'"
            hint = did_you_mean(code, RULES) or "`broker check` names the code in brackets."
        elif rule.severity == "error" or code in _NEVER:
            problem, about = "bad-allow", f"'{code}' cannot be allowed"
        elif not match["reason"].strip():
            problem, about, hint = "bad-allow", "the reason is missing", "Say why it is meant to stay."
        yield (
            line,
            code,
            Fault(
                file=file,
                line=line,
                column=column,
                end=column + len(match[0].rstrip()),
                message=f"{about}.",
                hint=hint,
                code=problem,
                severity="warning",
            ),
        )
