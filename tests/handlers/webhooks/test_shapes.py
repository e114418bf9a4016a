"""How a request shows its own shape, and what it must not be taken for."""

from typing import Any

import orjson
import pytest

from handlers.webhooks.delivery import Request
from handlers.webhooks.shapes import recognised
from tests.handlers.webhooks.samples import NOW


@pytest.mark.parametrize(
    "headers, shape",
    [
        ({"x-amz-sns-message-type": "Notification"}, "aws_lifecycle"),
        ({"ce-type": "io.golioth.data.v1/temp"}, "golioth_pipelines"),
        ({"ce-source": "golioth/stream"}, "golioth_stream"),
        ({"ce-specversion": "1.0", "content-type": "application/json"}, "cloudevents"),
        ({"ce-type": "other", "ce-source": "other"}, "generic"),
    ],
)
def test_headers_show_the_shape_first(headers: dict[str, str], shape: str) -> None:
    assert recognised(Request(b"{}", headers, NOW)) == shape


@pytest.mark.parametrize(
    "body, shape",
    [
        ({"eventType": "Microsoft.Devices.DeviceConnected"}, "azure_event_grid"),
        ({"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent"}, "azure_event_grid"),
        ({"eventType": "Microsoft.Storage.BlobCreated"}, "generic"),
        ({"specversion": "1.0", "type": "t", "source": "s"}, "cloudevents"),
        ({"specversion": "1.0", "type": "t"}, "generic"),
        ({"eventType": "Connected"}, "aws_lifecycle"),
        ({"eventType": "connect_failed"}, "aws_lifecycle"),
        ({"eventType": "other", "principalIdentifier": "p"}, "aws_lifecycle"),
        ({"eventType": "other"}, "generic"),
        ({"principalIdentifier": "p"}, "generic"),
        ({"connectionState": "disconnected"}, "aws_lifecycle"),
        ({"Type": "Notification", "TopicArn": "a"}, "aws_lifecycle"),
        ({"Type": "Notification"}, "generic"),
        ({"TopicArn": "a", "Type": "other"}, "generic"),
        ({"messageType": "DestinationConfirmation", "enableUrl": "u"}, "aws_lifecycle"),
        ({"messageType": "DestinationConfirmation"}, "generic"),
        ({"messageType": "other", "enableUrl": "u"}, "generic"),
        ({"event": "device.online"}, "golioth_platform"),
        ({"event": 5}, "generic"),
        ({"data": 1, "device_id": "d", "project_id": "p", "timestamp": 1}, "golioth_stream"),
        ({"data": 1, "device_id": "d", "project_id": "p"}, "generic"),
        ([1, {"event": "device.online"}], "golioth_platform"),
        ([], None),
        ([1], None),
        ("text", None),
    ],
)
def test_the_keys_of_the_first_object_show_the_shape(body: Any, shape: str | None) -> None:
    assert recognised(Request(orjson.dumps(body), {}, NOW)) == shape


def test_a_type_of_structured_cloudevents_shows_the_shape() -> None:
    headers = {"content-type": "application/cloudevents-batch+json"}
    assert recognised(Request(b'[{"x": 1}]', headers, NOW)) == "cloudevents"
