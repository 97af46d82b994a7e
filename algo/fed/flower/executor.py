"""Runs what a client's SuperNode receives: a process that has loaded everything already, and forks for each message.

Flower by itself starts a program for each message, and the program loads Flower, PyTorch and the images first: about
3 s of a core on a PC, and much more on a small device. This is started beside `flower-supernode --isolation process`
instead.

It uses two parts of Flower that are not documented: how a task is asked for, and the program's entry point. Another
version of Flower needs another look at them.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from pathlib import Path

import httpx
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.retry import make_simple_http_retry_invoker
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.cli.flwr_clientapp import flwr_clientapp

from algo.fed.flower import apps  # noqa: F401 - loaded for the forks
from algo.fed.flower.device import DeviceFolder, load

#: Seconds between two looks for a message.
_LOOK_S = 0.25


def execute(address: str, folder: Path) -> None:
    """Run tasks, each in a fork, until this process is ended.

    Args:
        address: where the SuperNode is asked for tasks, on this machine.
        folder: of the client.
    """
    load(DeviceFolder.open(folder))
    context = multiprocessing.get_context("fork")
    client = RuntimeHttpClient.from_server_address(
        server_address=address,
        insecure=True,
        root_certificates=None,
        interceptors=[RuntimeVersionHttpInterceptor(component_name="SuperExec")],
        retry_invoker=make_simple_http_retry_invoker(),
    )
    wanted = AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP])
    while True:
        try:
            found = client.AcquireTask(wanted)
        except httpx.HTTPError as error:
            sys.exit(f"the SuperNode at {address} does not answer: {error}")
        if found.token:
            context.Process(target=_client_app, args=(address, found.token, os.getpid())).start()
        multiprocessing.active_children()  # forget those that have ended
        time.sleep(_LOOK_S)


def _client_app(address: str, token: str, parent: int) -> None:
    """Flower's program for one message; it ends when the process ``parent`` does."""
    options = {"--runtime-api-address": address, "--token": token, "--parent-pid": str(parent)}
    sys.argv = ["flwr-clientapp", "--insecure", *(word for option in options.items() for word in option)]
    flwr_clientapp()


if __name__ == "__main__":
    execute(sys.argv[1], Path(sys.argv[2]))
