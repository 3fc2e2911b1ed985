"""What `broker apply` says of nodes that have not loaded the proposed routes."""

from __future__ import annotations

import pytest

from broker.cli.apply import _tell
from broker.runtime.applying import Applied
from broker.runtime.routesets import Answer

LACKS = Answer(node="router-a", fault="the environment variable X is not set", version="")


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        ((), "router-b: did not answer within 10 s; `broker status` shows whether it lives"),
        ((LACKS,), "router-b: had not answered yet"),  # one refusal ends it at once
    ],
)
def test_a_node_is_called_silent_only_where_it_was_waited_for(
    refused: tuple[Answer, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _tell(Applied(number=0, refused=refused, silent=("router-b",)), same=False, tests=0, timeout=10.0)

    assert said in capsys.readouterr().out.splitlines()
