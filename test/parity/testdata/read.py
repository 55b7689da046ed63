"""A stock consumer: Confluent's client for Python reads a topic of one partition to its end, and its Avro deserializer (fastavro)
decodes the records by the schemas that the registry has.

usage: read.py BROKER REGISTRY_URL TOPIC    a line of JSON for each record
Each value is written so that nothing of it is lost on the way: a list of its kind and its text.
"""

import decimal
import json
import struct
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

broker, registry, topic = sys.argv[1:4]
decode = AvroDeserializer(SchemaRegistryClient({"url": registry}))
consumer = Consumer({
    "bootstrap.servers": broker,
    "group.id": "python",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "enable.auto.commit": False,
})


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


def read():
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    while True:
        record = consumer.poll(20)
        if record is None:
            sys.exit("the broker gave nothing for 20 s")
        if record.error():
            if record.error().code() == KafkaError._PARTITION_EOF:
                return
            sys.exit(str(record.error()))
        key = decode(record.key(), SerializationContext(topic, MessageField.KEY))
        value = decode(record.value(), SerializationContext(topic, MessageField.VALUE))
        print(json.dumps({"key": told(key), "value": told(value)}))


read()
consumer.close()
