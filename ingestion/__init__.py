"""The HTTP service in front of Kafka: it takes documents, conversations and events, and answers when Kafka has them."""
