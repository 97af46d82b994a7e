"""How messages travel: one protocol for clients in this process and for clients elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from algo.fed.client import Client
from algo.nas.latency_table import LatencyTable
from algo.nas.search import Diverged


class NotSent(str):
    """Why a message was not sent: a reply that is none, and whose message does not count as traffic."""


class Transport(Protocol):
    """Brings messages to clients, and their replies back."""

    def exchange(self, messages: Mapping[int, bytes], on_reply: Callable[[int], None]) -> dict[int, bytes | str]:
        """A round.

        Args:
            messages: by client.
            on_reply: is told how many replies have come.

        Returns:
            By client: its reply, or why there is none; `NotSent` if the message was not sent, either.
        """

    def finish(self) -> dict[int, dict[str, Any] | str]:
        """By client: what `Client.finish` says of its own network, or why there is nothing."""


class InProcess:
    """Clients of this process, one after the other.

    Args:
        clients: all, by their numbers.
        tables: of each client's device.
        on_finished: is given each client after its own training.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        tables: Sequence[LatencyTable],
        on_finished: Callable[[Client], None] = lambda client: None,
    ) -> None:
        self.clients, self._tables, self._on_finished = tuple(clients), tuple(tables), on_finished

    def exchange(self, messages: Mapping[int, bytes], on_reply: Callable[[int], None]) -> dict[int, bytes | str]:
        """See `Transport`."""
        replies: dict[int, bytes | str] = {}
        for number, blob in messages.items():
            try:
                replies[number] = self.clients[number].answer(blob)
            except (ValueError, Diverged) as error:
                replies[number] = str(error)
            on_reply(len(replies))
        return replies

    def finish(self) -> dict[int, dict[str, Any] | str]:
        """See `Transport`."""
        found: dict[int, dict[str, Any] | str] = {}
        for client, table in zip(self.clients, self._tables, strict=True):
            found[client.number] = client.finish(table)
            self._on_finished(client)
        return found
