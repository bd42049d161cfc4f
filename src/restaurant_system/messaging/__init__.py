"""Messages and the brokers that carry them: RabbitMQ, or a queue table in PostgreSQL."""
