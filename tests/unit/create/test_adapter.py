"""What the templates become: every name filled in, every file where its direction needs it."""

from __future__ import annotations

import ast
import tomllib

import pytest

from broker.create.adapter import Direction, Protocol, adapter_files, check_name, settings_lines
from broker.scalars import as_written
from broker.yamlfile.reading import loads


@pytest.mark.parametrize("protocol", ["mllp", "file"])
@pytest.mark.parametrize("direction", ["inbound", "outbound", "both"])
def test_every_file_is_whole(direction: Direction, protocol: Protocol) -> None:
    files = adapter_files("ward-2", direction, protocol)

    ways = {"inbound", "outbound"} if direction == "both" else {direction}
    for way in ("inbound", "outbound"):
        assert (f"broker_ward_2/{way}.py" in files) == (way in ways)
        assert (f"tests/test_{way}.py" in files) == (way in ways)
    for name, text in files.items():
        assert "$" not in text.replace("$ pip", "").replace("$ broker", "").replace("$ pytest", ""), name
        if name.endswith(".py"):
            assert ast.get_docstring(ast.parse(text)), name
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["name"] == "broker-ward-2"
    assert project["entry-points"] == {
        f"broker.{way}": {"ward-2": f"broker_ward_2:{way.upper()}"} for way in ways
    }
    lines = loads(settings_lines("ward-2", direction, protocol)).value
    assert {way: as_written(lines[way]["ward-2"]["adapter"]) for way in lines} == dict.fromkeys(
        ways, "ward-2"
    )


@pytest.mark.parametrize("name", ["", "A", "1a", "a_b", "a--b", "a-", "a" * 25, "../a", "a\n", "å"])
def test_a_name_that_pip_and_python_would_not_take(name: str) -> None:
    with pytest.raises(ValueError, match="a name has up to 24"):
        check_name(name)
