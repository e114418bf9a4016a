"""Names of fields in errors, and the few labels of a metric."""

import pytest

from handlers.events import FieldError
from handlers.fields import field_label, field_name


@pytest.mark.parametrize(
    "field, name",
    [
        ("battery", "battery"),
        ("[3].battery", "battery"),
        ("[12].a.b", "a.b"),
        ("[3]", "[3]"),
        ("[3].", "[3]."),
    ],
)
def test_an_error_of_an_entry_is_kept_under_the_name_of_its_field(field: str, name: str) -> None:
    assert field_name(FieldError(field, "is wrong")) == name


@pytest.mark.parametrize(
    "name, label",
    [
        ("battery", "battery"),
        ("metadata.notes", "metadata"),
        ("temp", "temp"),
        ("made up", "other"),
        ("", "other"),
    ],
)
def test_a_metric_has_labels_of_known_fields_alone(name: str, label: str) -> None:
    assert field_label(name) == label
