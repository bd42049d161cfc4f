"""RabbitMQ's management interface."""

from collections.abc import Mapping
from typing import Any

import httpx


class ManagementApi:
    """The management interface for one virtual host."""

    def __init__(self, api: httpx.Client, vhost: str) -> None:
        self._api = api
        self._vhost = vhost

    def listed(self, kind: str) -> list[dict[str, Any]]:
        """List all objects of a kind, such as `queues`."""
        listed: list[dict[str, Any]] = self._api.get(f"/{kind}/{self._vhost}").json()
        return listed

    def connections(self, vhost: str) -> list[dict[str, Any]]:
        """List the connections to a virtual host; the data is a few seconds old."""
        listed: list[dict[str, Any]] = self._api.get(f"/vhosts/{vhost}/connections").json()
        return listed

    def channels(self) -> list[dict[str, Any]]:
        """List the channels; the data is a few seconds old."""
        listed: list[dict[str, Any]] = self._api.get(f"/vhosts/{self._vhost}/channels").json()
        return listed

    def consumers(self) -> int:
        """Count the consumers on all channels."""
        counts: list[int] = [each.get("consumer_count", 0) for each in self.channels()]
        return sum(counts)

    def declare_queue(self, name: str, arguments: Mapping[str, object]) -> None:
        """Declare a durable queue with these arguments."""
        queue = {"durable": True, "arguments": arguments}
        self._api.put(f"/queues/{self._vhost}/{name}", json=queue).raise_for_status()

    def declare_exchange(self, name: str, kind: str) -> None:
        """Declare a durable exchange of a type."""
        exchange = {"type": kind, "durable": True}
        self._api.put(f"/exchanges/{self._vhost}/{name}", json=exchange).raise_for_status()

    def delete_queue(self, name: str) -> None:
        """Delete a queue with its messages."""
        self._api.delete(f"/queues/{self._vhost}/{name}").raise_for_status()

    def delete_exchange(self, name: str) -> None:
        """Delete an exchange with its bindings."""
        self._api.delete(f"/exchanges/{self._vhost}/{name}").raise_for_status()

    def limit(self, queue: str, **limits: object) -> None:
        """Set a policy for a queue."""
        policy = {"pattern": f"^{queue}$", "definition": limits, "apply-to": "queues"}
        self._api.put(f"/policies/{self._vhost}/limit", json=policy).raise_for_status()

    def create_user(
        self, name: str, *, write: str, configure: str = ".*", read: str = ".*"
    ) -> None:
        """Create a user whose password is its name; the others match what it may do that to."""
        user = {"password": name, "tags": ""}
        self._api.put(f"/users/{name}", json=user).raise_for_status()
        permissions = {"configure": configure, "write": write, "read": read}
        self._api.put(f"/permissions/{self._vhost}/{name}", json=permissions).raise_for_status()

    def publish(self, queue: str, payload: str, **properties: object) -> None:
        """Publish a message to a queue."""
        message = {
            "routing_key": queue,
            "payload": payload,
            "payload_encoding": "string",
            "properties": properties,
        }
        url = f"/exchanges/{self._vhost}/amq.default/publish"
        assert self._api.post(url, json=message).json()["routed"]
