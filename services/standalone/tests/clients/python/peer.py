"""What the scenario does through either line of the SDK."""

from contextlib import asynccontextmanager


class Peer:
    """The connected client and what its callbacks have received; each line of the SDK has one of its own.

    It sets `client`, whose methods have the same names in both, and what differs: `error`, `expected_version`, `steps_up`
    (whether a login gets more scopes when they are needed), and after the handshake `version`, `server_name` and `capabilities`.
    """

    def __init__(self, options):
        self.options = options
        self.additions = not options.without_additions
        self.logs = []
        self.changes = 0

    @asynccontextmanager
    async def listening(self):
        """While it lasts, `changes` counts tools/list_changed."""
        yield

    async def on_log(self, params):
        self.logs.append((params.level, params.data))

    async def tools(self):
        tools, cursor = [], None
        while True:
            page = plain(await self.client.list_tools(cursor=cursor))
            tools += page["tools"]
            cursor = page["nextCursor"]
            if cursor is None:
                return tools

    async def call(self, name, arguments, progress=None):
        return plain(await self.client.call_tool(name, arguments, progress_callback=progress))

    async def resources(self):
        return plain(await self.client.list_resources())["resources"]

    async def read(self, uri):
        return plain(await self.client.read_resource(uri))["contents"]

    async def prompts(self):
        return plain(await self.client.list_prompts())["prompts"]

    async def prompt(self, name, arguments):
        return plain(await self.client.get_prompt(name, arguments))["messages"]

    async def tool(self, name):
        return next((tool for tool in await self.tools() if tool["name"] == name), None)

    async def manage(self, verb, arguments):
        return await self.call(f"dynamic.tool.{verb}", arguments)

    def input(self, arguments):
        return arguments if self.additions else {"args": arguments}


def plain(answer):
    """What the SDK parsed, as JSON."""
    return answer.model_dump(mode="json", by_alias=True)
