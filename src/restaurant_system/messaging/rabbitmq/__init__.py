"""Implement the broker with RabbitMQ 3.10 or later, without features that 4.x deprecates.

Connections are not reopened in the background. A broken connection raises an error, and the next
call opens a new one, so that no delivery of a closed connection is mistaken for a valid one.
"""

from restaurant_system.messaging.rabbitmq.broker import RabbitMQBroker

__all__ = ["RabbitMQBroker"]
