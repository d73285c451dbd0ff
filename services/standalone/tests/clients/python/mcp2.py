"""The scenario through the Python SDK 2.x, in either era."""

import os
import sys
from contextlib import asynccontextmanager

import anyio
from command_line import check, finish, parse
from connection import through
from mcp import MCPError, StdioServerParameters
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from peer import Peer, plain

MODERN = "2026-07-28"


class Peer2(Peer):
    """A `Client` that speaks the asked era."""

    error = MCPError
    steps_up = True

    def __init__(self, options, server):
        super().__init__(options)
        self.modern = options.era == MODERN
        self.expected_version = MODERN if self.modern else "2025-11-25"
        self.client = Client(
            server,
            # Not the version itself: that would adopt it without asking the server what it can do.
            mode="auto" if self.modern else "legacy",
            logging_callback=self.on_log,
            log_level="debug" if self.modern else None,
            message_handler=self.on_message,
            read_timeout_seconds=30,
        )

    async def on_message(self, message):
        if getattr(message, "method", None) == "notifications/tools/list_changed":
            self.changes += 1

    async def greet(self):
        self.version = self.client.protocol_version
        self.server_name = self.client.server_info and self.client.server_info.name
        self.capabilities = plain(self.client.server_capabilities)
        if not self.modern and self.capabilities["logging"] is not None:
            await self.client.set_logging_level("debug")

    @asynccontextmanager
    async def listening(self):
        """By a subscription on the modern wire, by the message handler before."""
        declared = (self.capabilities["tools"] or {}).get("listChanged")
        if not declared or not self.modern:
            yield
            return
        async with self.client.listen(tools_list_changed=True) as subscription, anyio.create_task_group() as group:
            check(bool(subscription.honored.tools_list_changed), "the subscription is acknowledged", subscription.honored)

            async def count():
                async for _ in subscription:
                    self.changes += 1

            group.start_soon(count)
            yield
            group.cancel_scope.cancel()


@asynccontextmanager
async def connected(options, http):
    """A peer over `http`, or over the pipes of the program when there is none; gone at the end."""
    if http is None:
        server = StdioServerParameters(command=options.stdio[0], args=options.stdio[1:], env=dict(os.environ))
    else:
        server = streamable_http_client(options.url, http_client=http)
    peer = Peer2(options, server)
    async with peer.client:
        await peer.greet()
        yield peer


async def work():
    await through(connected, create_mcp_http_client, options)


options = parse(__doc__, [MODERN, "legacy"])
sys.exit(finish(work))
