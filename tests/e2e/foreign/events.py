"""Reads the public feed as any service would: nats-py, a durable consumer, JSON Schema.

    events.py NATS_URL SCHEMA_FOLDER DURABLE EXPECTED

Reads on from where DURABLE stands until EXPECTED events have come, and a moment longer to see that
there are no more. Checks each event against its schema and its subject, and prints one line of JSON:
{"events": [{"id", "subject", "kind", "number"}, ...]}.
"""

import asyncio
import json
import pathlib
import sys

import jsonschema
import nats
import nats.errors


def validator(schemas, headers):
    """The validator for a message, found by the headers that say what it is."""
    path = schemas / f"{headers['Pr-Kind']}.v{headers['Pr-Version']}.json"
    schema = json.loads(path.read_text())
    cls = jsonschema.validators.validator_for(schema)
    cls.check_schema(schema)
    return cls(schema, format_checker=cls.FORMAT_CHECKER)


def check(message, validators, schemas):
    headers = message.headers or {}
    encoding = headers.get("Content-Encoding")
    assert encoding is None, f"{message.subject}: a public event must be plain JSON, this is {encoding}"
    key = (headers["Pr-Kind"], headers["Pr-Version"])
    if key not in validators:
        validators[key] = validator(schemas, headers)
    event = json.loads(message.data)
    errors = [error.message for error in validators[key].iter_errors(event)]
    assert not errors, f"{message.subject}: {errors}: {event}"
    kind = event["data"]["kind"]
    tokens = message.subject.split(".")
    assert len(tokens) == 6 and tokens[:2] == ["pr", "events"], message.subject
    assert tokens[4] == str(event["number"]) and tokens[5] == kind, message.subject
    assert event["specversion"] == "1.0", event
    assert event["type"] == f"dev.prmirror.pull_request.{kind}.v1", event
    assert event["id"] in headers["Nats-Msg-Id"], headers
    return {"id": event["id"], "subject": event["subject"], "kind": kind, "number": event["number"]}


async def main(url, schemas, durable, expected):
    client = await nats.connect(url)
    stream = client.jetstream()
    subscription = await stream.pull_subscribe("pr.events.>", durable=durable, stream="PR_EVENTS")
    events, validators = [], {}
    while True:
        try:
            batch = await subscription.fetch(100, timeout=10 if len(events) < expected else 1)
        except nats.errors.TimeoutError:
            break
        for message in batch:
            events.append(check(message, validators, schemas))
            await message.ack_sync()
    await client.close()
    print(json.dumps({"events": events}))


asyncio.run(main(sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
