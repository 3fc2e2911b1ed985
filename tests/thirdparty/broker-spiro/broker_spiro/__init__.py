"""Adapter `spiro`: what the entry point of pyproject.toml loads."""

from broker_spiro.inbound import INBOUND

__all__ = ["INBOUND"]
