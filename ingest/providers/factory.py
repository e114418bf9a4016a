"""From an integration to its provider. A cloud's library is imported when it is used."""

from ingest.errors import Misconfigured
from ingest.providers.mqtt import MqttProvider, MqttSide
from ingest.providers.port import Provider
from ingest.providers.retry import Limits
from ingest.providers.settings import ProviderSettings

TYPES = ("golioth", "aws_iot", "azure_iot", "mqtt")


def create_provider(
    settings: ProviderSettings, *, mqtt: MqttSide | None = None, limits: Limits | None = None
) -> Provider:
    """Return the provider that `settings` describe; nothing is asked of it yet. `mqtt` is needed for type mqtt.

    Raises: Misconfigured, naming the field to enter or the extra to install.
    """
    match settings.integration_type:
        case "golioth":
            from ingest.providers.golioth.provider import GoliothProvider

            return GoliothProvider(settings, limits)
        case "azure_iot":
            from ingest.providers.azure_iot.provider import AzureIotProvider

            return AzureIotProvider(settings, limits)
        case "aws_iot":
            try:
                from ingest.providers.aws_iot.provider import AwsIotProvider
            except ModuleNotFoundError as missing:
                if (missing.name or "").startswith(("ingest", "handlers")):
                    raise
                told = "integrations of type aws_iot need the extra `aws`: pip install 'rollcall[aws]'"
                raise Misconfigured(told) from missing

            return AwsIotProvider(settings, limits)
        case "mqtt" if mqtt is not None:
            return MqttProvider(settings, mqtt, limits)
        case "mqtt":
            raise Misconfigured("integrations of type mqtt need a running session: this command has none")
        case other:
            raise Misconfigured(f"integration type {other!r} is not known: use one of {', '.join(TYPES)}")
