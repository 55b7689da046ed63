"""A stock Avro consumer: decodes the records of a dump with fastavro, by the schemas that the registry has.

usage: read.py REGISTRY_URL DUMP    a line of JSON for each record of DUMP
Each value is written so that nothing of it is lost on the way: a list of its kind and its text.
"""

import base64
import decimal
import io
import json
import struct
import sys
import urllib.request

import fastavro

registry, dump = sys.argv[1:3]
schemas = {}


def schema(number):
    if number not in schemas:
        with urllib.request.urlopen(f"{registry}/schemas/ids/{number}") as answer:
            schemas[number] = fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
    return schemas[number]


def decode(framed):
    if framed is None:
        return None
    data = base64.b64decode(framed)
    magic, number = struct.unpack(">bI", data[:5])
    assert magic == 0, data[:5]
    body = io.BytesIO(data[5:])
    value = fastavro.schemaless_reader(body, schema(number))
    assert body.read() == b"", "bytes follow the record"
    return told(value)


def told(value):
    if value is None:
        return None
    if isinstance(value, bool):
        return ["bool", str(value).lower()]
    if isinstance(value, int):
        return ["int", str(value)]
    if isinstance(value, float):
        return ["float", struct.pack(">d", value).hex()]
    if isinstance(value, decimal.Decimal):
        return ["decimal", format(value, "f")]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, str):
        return ["text", value]
    if isinstance(value, list):
        return ["list", [told(v) for v in value]]
    if isinstance(value, dict):
        return ["record", {k: told(v) for k, v in value.items()}]
    raise TypeError(f"{type(value)}: {value!r}")


with open(dump) as lines:
    for line in lines:
        record = json.loads(line)
        print(json.dumps({"key": decode(record["key"]), "value": decode(record["value"])}))
