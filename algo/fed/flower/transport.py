"""Messages to clients over Flower's message API; the round loop stays ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from flwr.app import ConfigRecord, Message, RecordDict

from algo.fed.finished import checked
from algo.fed.transport import NotSent
from algo.nas.space import Space
from algo.support.user_files import check_object, parse_json

#: The record of every message, and its fields: what is asked or answered, and why there is no answer.
RECORD, CONTENT, ERROR, WHAT = "rlu", "content", "error", "what"
#: What a query asks.
GREET, FINISH = "greet", "finish"
#: Letters of a client's reason that are kept.
_LONGEST_REASON = 300
#: Seconds between two looks for replies and for clients.
_LOOK_S = 0.2
#: Seconds that a client has for its own training after the last round, as a multiple of the deadline of a round.
_FINISH_ROUNDS = 10


class Grid(Protocol):
    """What of Flower's `Grid` is used."""

    def get_node_ids(self) -> Any:
        """Of all nodes that are connected."""

    def push_messages(self, messages: Any) -> Any:
        """Send; gives the messages' ids, in their order, and ``None`` for one that was not sent."""

    def pull_messages(self, message_ids: Any) -> Any:
        """Replies that have come."""


class FlowerTransport:
    """Clients that are connected to a SuperLink.

    Args:
        grid: Flower's.
        clients: how many.
        told: what every client is told first, see `algo.fed.flower.device.told`.
        deadline_s: of a round; one without any client waits for one until then.
        space: whose networks the clients have.
        say: is told what a user should know.
    """

    def __init__(
        self, grid: Grid, clients: int, told: bytes, deadline_s: float, space: Space, say: Callable[[str], None]
    ) -> None:
        self._space = space
        self._grid, self._clients, self._told, self._deadline_s, self._say = grid, clients, told, deadline_s, say
        self._nodes: dict[int, int] = {}  # by client
        self._known: set[int] = set()  # nodes that have been told, whatever they said
        self._silent: dict[int, int] = {}  # nodes that did not answer when they were told, and how often
        self._again: dict[int, int] = {}  # the round in which each of them is told again
        self._round = 0

    def wait(self, seconds: float) -> None:
        """Wait for all clients, but not longer than this; the run begins with those that are there."""
        until = time.monotonic() + seconds
        while len(self._nodes) < self._clients and time.monotonic() < until:
            if not self._greet(max(0.0, until - time.monotonic())):
                time.sleep(_LOOK_S)
        if len(self._nodes) < self._clients:
            self._say(f"{len(self._nodes)} of {self._clients} clients are connected after {seconds:g} s")

    def exchange(self, messages: Mapping[int, bytes], on_reply: Callable[[int], None]) -> dict[int, bytes | str]:
        """See `Transport`."""
        self._round += 1
        until = time.monotonic() + self._deadline_s
        self._greet(self._deadline_s / 2)  # new nodes that say nothing must leave time for the others
        while not self._nodes and time.monotonic() < until:
            if not self._greet(max(0.0, until - time.monotonic())):
                time.sleep(_LOOK_S)
        asked = {self._nodes[client]: blob for client, blob in messages.items() if client in self._nodes}
        by_node = self._ask("train", "", asked, until - time.monotonic(), on_reply)
        return {client: self._of(client, by_node) for client in messages}

    def finish(self) -> dict[int, dict[str, Any] | str]:
        """See `Transport`."""
        asked = dict.fromkeys(self._nodes.values(), b"")
        by_node = self._ask("query", FINISH, asked, _FINISH_ROUNDS * self._deadline_s, lambda count: None)
        found: dict[int, dict[str, Any] | str] = {}
        for client in range(self._clients):
            reply = self._of(client, by_node)
            try:
                found[client] = reply if isinstance(reply, str) else finished_in(reply, client, self._space)
            except ValueError as error:
                found[client] = f"its last reply does not count: {error}"
        return found

    def _of(self, client: int, by_node: Mapping[int, bytes | str]) -> bytes | str:
        if client not in self._nodes:
            return NotSent("it is not connected")
        return by_node.get(self._nodes[client], f"it did not reply within {self._deadline_s:g} s")

    def _greet(self, seconds: float) -> bool:
        """Tell nodes that are new what the run is, and forget nodes that are gone; whether a node was new."""
        there = sorted(map(int, self._grid.get_node_ids()))
        self._nodes = {client: node for client, node in self._nodes.items() if node in there}
        self._known &= set(there)  # who comes back may have the same node and know nothing
        new = [node for node in there if node not in self._known and self._again.get(node, 0) <= self._round]
        if not new or seconds <= 0:
            return False
        replies = self._ask("query", GREET, dict.fromkeys(new, self._told), seconds, lambda count: None)
        for node in set(new) - set(replies):  # told again ever more rarely: each time costs the others time
            self._silent[node] = self._silent.get(node, 0) + 1
            self._again[node] = self._round + 2 ** self._silent[node]
        for node, reply in sorted(replies.items()):
            self._known.add(node)
            if isinstance(reply, str):
                self._say(f"a client is refused: {reply}")
                continue
            try:
                index = index_in(reply, self._clients)
            except ValueError as error:
                self._say(f"a client is refused: {error}")
                continue
            if index in self._nodes:
                self._say(f"a second client of index {index} is refused: give each another --index")
                continue
            self._nodes[index] = node
        return True

    def _ask(
        self, kind: str, what: str, asked: Mapping[int, bytes], seconds: float, on_reply: Callable[[int], None]
    ) -> dict[int, bytes | str]:
        """Replies by node; who does not reply in time is missing."""
        nodes: Sequence[int] = list(asked)
        messages = [
            Message(
                RecordDict({RECORD: ConfigRecord({WHAT: what, CONTENT: asked[node]})}), node, kind, ttl=seconds + 60,
                group_id=str(self._round or "setup"),
            )
            for node in nodes
        ]  # fmt: skip
        ids = list(self._grid.push_messages(messages)) if messages else []
        waiting = {number: node for number, node in zip(ids, nodes, strict=False) if number is not None}
        found: dict[int, bytes | str] = {
            node: NotSent("the SuperLink did not take the message to it")
            for node in nodes
            if node not in waiting.values()
        }
        until = time.monotonic() + seconds
        while waiting and time.monotonic() < until:
            for reply in self._grid.pull_messages(list(waiting)):
                node = waiting.pop(reply.metadata.reply_to_message_id, None)
                if node is not None:
                    found[node] = _content(reply)
                    on_reply(len(found))
            if waiting:
                time.sleep(_LOOK_S)
        return found


def index_in(reply: bytes, clients: int) -> int:
    """The number that a client gives itself when it is greeted; raises ValueError for anything else."""
    index: int = check_object(parse_json(reply), {"index": int}, "its greeting")["index"]
    if not 0 <= index < clients:
        raise ValueError(f"the run has {clients} clients, from 0; there is no client {index}")
    return index


def finished_in(reply: bytes, client: int, space: Space) -> dict[str, Any]:
    """What a client says of its own network, as `Client.finish` does; raises ValueError for anything else."""
    found = dict(checked(parse_json(reply), "its last reply", space.block_count, set(map(tuple, space.options))))
    if found["client"] != client:
        raise ValueError(f"it is of client {found['client']}, not {client}")
    return found


def _content(reply: Message) -> bytes | str:
    """What a reply says, or why it says nothing."""
    if reply.has_error():
        return f"Flower says: {reply.error.reason}"
    record = reply.content.get(RECORD)
    if not isinstance(record, ConfigRecord):
        return "its reply has no record of ours"
    if ERROR in record:
        return _one_line(str(record[ERROR]))
    content = record.get(CONTENT)
    return content if isinstance(content, bytes) else "its reply has no content"


def _one_line(text: str) -> str:
    """What a client says of an error, fit for a terminal and for a line of a file."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:_LONGEST_REASON]


def node_config(values: Mapping[str, object], name: str) -> str:
    """A setting that a SuperNode or a run was started with."""
    return str(cast(Mapping[str, Any], values)[name])
