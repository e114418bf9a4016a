"""What an integration says about its provider, the key in the clear and only in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handlers.text import described
from ingest.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One row of device_integrations as a provider needs it. Neither the key nor the settings are in the repr."""

    integration_type: str
    project_id: str | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)

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
