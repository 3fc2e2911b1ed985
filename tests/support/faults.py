"""What a file that people edit is refused for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broker.errors import ConfigError


def faults(read: Callable[..., object], *arguments: object, **options: object) -> list[str]:
    """Every fault as a person sees it, in order."""
    with pytest.raises(ConfigError) as caught:
        read(*arguments, **options)
    return [str(fault) for fault in caught.value.faults]
