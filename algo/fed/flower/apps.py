"""The two apps that Flower starts: the server's round loop, and what a client does with a message.

Both know nothing but a folder, which the run's configuration names on the server's machine, and the SuperNode's on a
client's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from algo.fed.flower.transport import CONTENT, ERROR, FINISH, GREET, RECORD, WHAT, FlowerTransport, node_config

#: Names of settings: of folders, and of the seconds that a server waits for all clients.
FOLDER, WAIT = "folder", "wait-s"
#: The file in the run's folder that says why the server's app ended early.
FAILED = "failed.txt"

client = ClientApp()
server = ServerApp()


@client.train()
def _train(message: Message, context: Context) -> Message:
    return _answered(message, context)


@client.query()
def _query(message: Message, context: Context) -> Message:
    return _answered(message, context)


def _answered(message: Message, context: Context) -> Message:
    """The reply to a message; what goes wrong is said in it, for the server to name."""
    try:
        record = {CONTENT: _reply(message, Path(node_config(context.node_config, FOLDER)))}
    except Exception as error:  # the server names it, and the client goes on to the next message
        text = str(error) if isinstance(error, (ValueError, RuntimeError)) else f"{type(error).__name__}: {error}"
        print(text, file=sys.stderr, flush=True)
        return Message(RecordDict({RECORD: ConfigRecord({ERROR: text})}), reply_to=message)
    return Message(RecordDict({RECORD: ConfigRecord(dict(record))}), reply_to=message)


def _reply(message: Message, path: Path) -> bytes:
    from algo.fed.flower.device import DeviceFolder, answer, finish, greet

    record = message.content[RECORD]
    if not isinstance(record, ConfigRecord):
        raise ValueError("the message has no record of ours")
    what, content = record[WHAT], record[CONTENT]
    if not isinstance(content, bytes):
        raise ValueError("the message has no content")
    folder = DeviceFolder.open(path)
    if what == GREET:
        return json.dumps(greet(folder, content)).encode()
    return json.dumps(finish(folder)).encode() if what == FINISH else answer(folder, content)


@server.main()
def _main(grid: Grid, context: Context) -> None:
    from algo.fed.flower.device import told
    from algo.fed.folder import FedFolder
    from algo.fed.run import hosted
    from algo.nets.train.device_choice import training_device
    from algo.nets.train.sgd import reproducible

    def say(text: str) -> None:
        with (path / SAID).open("a") as file:
            file.write(text + "\n")

    path = Path(node_config(context.run_config, FOLDER))
    try:
        folder = FedFolder.open(path)
        config = folder.settings
        with folder, reproducible(config.threads, training_device()):
            table = folder.table
            clients, deadline_s = config.partition.clients, config.messages.deadline_s
            transport = FlowerTransport(grid, clients, told(config, table), deadline_s, table.space, say)
            transport.wait(float(node_config(context.run_config, WAIT)))
            # Clients of `rlu fed run` share a data set, which the run's folder knows.
            data = config.partition.data if "data" in folder.inputs else "clients'"
            hosted(config, folder, table, transport, data)
    except Exception as error:
        (path / FAILED).write_text(f"{type(error).__name__}: {error}\n")
        raise


#: The file in the run's folder with what a user should know.
SAID = "said.txt"
