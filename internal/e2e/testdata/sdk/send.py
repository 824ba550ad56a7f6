"""Sends events with the official CloudEvents SDK for Python and requests."""

import sys
from datetime import datetime, timezone

import requests
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1.conversion import to_json
from cloudevents.v1.http import CloudEvent as OldEvent
from cloudevents.v1.http import to_binary, to_structured

url, token = sys.argv[1:]


def send(headers, body):
    response = requests.post(url, headers={**headers, "Authorization": f"Bearer {token}"}, data=body, timeout=20)
    assert response.status_code == 202, (response.status_code, response.text)
    answer = response.json()
    assert answer["accepted"] == 1 and answer["rejected"] == 0, answer


def event(kind, id, data, **more):
    attributes = {"id": id, "source": "urn:sdk:python", "type": "com.example.sdk", "specversion": "1.0", **more}
    return kind(attributes, data)


now = datetime(2026, 11, 21, 10, 0, 0, tzinfo=timezone.utc)
message = to_structured_event(event(CloudEvent, "py-structured", {"name": "Zoë"}, time=now, datacontenttype="application/json"))
send(message.headers, message.body)
message = to_binary_event(event(CloudEvent, "py-binary", {"name": "Zoë"}, time=now, subject="a€b", datacontenttype="application/json"))
send(message.headers, message.body)

# The interface of the SDK's first version.
send(*to_structured(event(OldEvent, "py-structured-v1", {"name": "Zoë"})))
send(*to_binary(event(OldEvent, "py-binary-v1", {"name": "Zoë"})))
batch = b"[" + to_json(event(OldEvent, "py-batch", {"name": "Zoë"})) + b"]"
send({"Content-Type": "application/cloudevents-batch+json"}, batch)
