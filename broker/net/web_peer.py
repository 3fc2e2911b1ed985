"""Options of a DICOMweb server: where it is, how it knows us, whom we trust. Opens nothing."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from broker.adapter import Options
from broker.scalars import Duration, FileName, Secret, Text, as_written


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        named = False
    if not named or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("must be a URL such as https://pacs.example/dicom-web")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be the address only: secrets have options of their own")
    return value.rstrip("/")


def _in_header(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable():
        raise ValueError("must be letters, digits and signs of ASCII")
    return value


class WebPeer(Options):
    """Options of a DICOMweb server."""

    url: Annotated[str, BeforeValidator(as_written), AfterValidator(_url)] = Field(
        description="Where its DICOMweb services begin (what stands before `/studies`):"
        " `https://pacs.example/dicom-web`."
    )
    token: Annotated[Secret, AfterValidator(_in_header)] = Field(
        default=SecretStr(""), description="Bearer token, where it wants one."
    )
    user: Text = Field(default="", description="User name, where it wants name and password.")
    password: Secret = Field(default=SecretStr(""), description="The user's password.")
    ca_file: FileName = Field(
        default="",
        description="PEM file of the authorities that may sign its certificate, relative to this file. Empty: those"
        " that the machine trusts.",
    )
    connect_timeout: Duration = Field(default=5.0, description="Longest wait for a connection.")
    response_timeout: Duration = Field(
        default=60.0, description="Longest wait for an answer, and for it to read on."
    )

    @model_validator(mode="after")
    def _secrets(self) -> WebPeer:
        token, password = self.token.get_secret_value(), self.password.get_secret_value()
        if bool(self.user) != bool(password) or (token and self.user):
            raise ValueError("either `token`, or `user` with `password`, or neither")
        if ":" in self.user:
            raise ValueError("user: no colon (RFC 7617 2)")
        local = urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1")
        if (token or password) and not self.url.startswith("https:") and not local:
            raise ValueError("token, password: over https only")
        return self

    @property
    def place(self) -> str:
        """Host and port, for errors."""
        parts = urlsplit(self.url)
        return parts.netloc if parts.port else f"{parts.netloc}:{443 if parts.scheme == 'https' else 80}"
