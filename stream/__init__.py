"""Carry records: typed records, topics, the log (Redis Streams or Kafka), the relay, the embedded Redis."""
