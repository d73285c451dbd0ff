"""The scenario through the Python SDK 1.x, which knows the handshake only."""

import os
import sys
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
from command_line import finish, parse
from connection import through
from mcp import ClientSession, McpError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.types import LATEST_PROTOCOL_VERSION, ServerNotification, ToolListChangedNotification
from peer import Peer, plain

READ_TIMEOUT = timedelta(seconds=30)


class Peer1(Peer):
    """A `ClientSession` after its handshake."""

    error = McpError
    steps_up = False  # It asks for what a refusal names and forgets what it had.
    expected_version = LATEST_PROTOCOL_VERSION

    def __init__(self, options, streams):
        super().__init__(options)
        self.client = ClientSession(
            *streams,
            read_timeout_seconds=READ_TIMEOUT,
            logging_callback=self.on_log,
            message_handler=self.on_message,
        )

    async def on_message(self, message):
        if isinstance(message, ServerNotification) and isinstance(message.root, ToolListChangedNotification):
            self.changes += 1

    async def greet(self):
        answer = await self.client.initialize()
        self.version = answer.protocolVersion
        self.server_name = answer.serverInfo.name
        self.capabilities = plain(answer.capabilities)
        if self.capabilities["logging"] is not None:
            await self.client.set_logging_level("debug")


@asynccontextmanager
async def connected(options, http):
    """A peer over `http`, or over the pipes of the program when there is none; gone at the end."""
    if http is None:
        server = StdioServerParameters(command=options.stdio[0], args=options.stdio[1:], env=dict(os.environ))
        transport = stdio_client(server)
    else:
        transport = streamable_http_client(options.url, http_client=http)
    done = False
    try:
        async with transport as streams:
            peer = Peer1(options, streams[:2])
            async with peer.client:
                await peer.greet()
                yield peer
                done = True
    except* anyio.BrokenResourceError:
        # This SDK trips over a notification that comes while it closes, such as that of the last deleted tool.
        if not done:
            raise


async def work():
    await through(connected, create_mcp_http_client, options)


options = parse(__doc__, ["legacy"])
sys.exit(finish(work))
