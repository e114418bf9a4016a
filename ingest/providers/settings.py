"""Settings of a provider; its key is in the clear, and only in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handlers.text import described
from ingest.egress.address import address_of
from ingest.egress.gate import Egress
from ingest.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One row of device_integrations as a provider needs it. Neither the key nor the settings are in the repr."""

    integration_type: str
    project_id: str | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    egress: Egress = field(default_factory=Egress, repr=False)
    """Where its connections may go; by default everywhere."""

    @property
    def names_host(self) -> bool:
        """Whether somebody other than the operator decided which host is asked, by base_url."""
        return self.base_url is not None and self.egress.listed is not None

    @property
    def address(self) -> str:
        """Everything that decides where it connects to, for comparison with the operator's mark on its row."""
        return address_of(self.integration_type, self.base_url, self.settings, _host_of(self.api_key))

    def text(self, name: str) -> str | None:
        """Return the setting `name`, None where it is missing or empty. Raises: Misconfigured for what is no text."""
        value = self.settings.get(name) or None
        if value is not None and not isinstance(value, str):
            raise Misconfigured(f"{self.integration_type}: the setting {name} must be text")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Return the setting `name`. Raises: Misconfigured when it is neither true nor false."""
        value = self.settings.get(name, default)
        if not isinstance(value, bool):
            told = described(value) if isinstance(value, int | float) else "something else"
            raise Misconfigured(
                f"{self.integration_type}: the setting {name} must be true or false, not {told}"
            )
        return value

    def project(self, what: str) -> str:
        """Return project_id. Raises: Misconfigured, saying `what` belongs there."""
        if not self.project_id:
            raise Misconfigured(f"{self.integration_type}: project_id is missing: enter {what}")
        return self.project_id


def _host_of(key: str | None) -> str | None:
    """Return the host that a key names (the HostName of an Azure connection string), in lower case."""
    parts = dict(part.strip().partition("=")[::2] for part in (key or "").split(";"))
    return parts.get("HostName", "").lower() or None
