"""The broker of production: RabbitMQ, 3.10 and later, by nothing that 4.x deprecates.

Nothing reconnects behind the scenes. A broken line is an error that the caller sees, and the next
call opens a new one; so nobody holds a delivery of a line that is gone and believes in it.
"""

from restaurant_system.messaging.rabbitmq.broker import RabbitMQBroker

__all__ = ["RabbitMQBroker"]
