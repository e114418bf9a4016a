"""MQTT topics and NATS subjects: how the server writes one as the other.

Source: docs.nats.io, 'MQTT topics and NATS subjects'.
"""

import re

_LITERALS = re.compile(r"/\.|//|/|\.")
_BACK = {"/.": "/", "//": ".", "/": "", ".": "/"}
_WILD = {"+": "*", "#": ">"}
_NOT_IN_A_SUBJECT = re.compile(r"[\s*>]")


def topic_of(subject: str) -> str:
    """Return the MQTT topic that the server has written as this subject."""
    if "/" not in subject:
        return subject.replace(".", "/")
    return _LITERALS.sub(lambda found: _BACK[found[0]], subject)


def subjects_of(topic_filter: str) -> list[str]:
    """Return the subjects that together match what an MQTT topic filter (or a topic) matches.

    Two for `a/#`, which matches `a` as well.

    Raises: ValueError for a character that no subject can have.
    """
    if found := _NOT_IN_A_SUBJECT.search(topic_filter):
        raise ValueError(f"{topic_filter!r} has {found[0]!r}, which NATS cannot have in a subject")
    subjects = [_subject(topic_filter)]
    if topic_filter.endswith("/#") and topic_filter != "/#":
        subjects.append(_subject(topic_filter.removesuffix("/#")))
    return subjects


def _subject(text: str) -> str:
    subject = ""
    for at, sign in enumerate(text):
        if sign != "/":
            subject += "//" if sign == "." else _WILD.get(sign, sign)
        elif not at or subject.endswith("."):
            subject += "/."
        elif text[at + 1 : at + 2] in ("", "/"):
            subject += "./"
        else:
            subject += "."
    return subject
