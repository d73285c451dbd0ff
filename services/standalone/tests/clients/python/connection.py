"""From the command line to the running scenario, for both lines of the SDK."""

from urllib.parse import urlsplit

from command_line import check
from discovery import discovered, watched
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from scenario import scenario


async def through(connected, make_http, options):
    """Runs the scenario with a peer of `connected(options, http)`; `make_http` is the SDK's own maker of HTTP clients."""
    if options.url is None:
        async with connected(options, None) as peer:
            await scenario(peer)
        return
    if options.token is not None:
        await refused(connected, make_http, options)
        options.headers["Authorization"] = f"Bearer {options.token}"
    auth = None if options.login is None else login(options)
    async with make_http(headers=options.headers, auth=auth) as http, connected(options, http) as peer:
        await scenario(peer)


async def refused(connected, make_http, options):
    """Without the token there is no connection, only the way to one."""
    async with make_http(headers=options.headers) as http:
        refusals = watched(http)
        check(not await connects(connected(options, http)), "without a token the SDK does not connect")
        await discovered(http, refusals, options)


async def connects(peer):
    try:
        async with peer:
            return True
    except Exception:  # Each line of the SDK has its own; what was on the wire is looked at next.
        return False


def login(options):
    """The SDK's own way from the endpoint's address and credentials to tokens, and to more scopes when they are needed."""
    issuer = urlsplit(options.login)
    return ClientCredentialsOAuthProvider(
        options.url,
        Memory(),
        issuer.username,
        issuer.password,
        issuer=issuer._replace(netloc=issuer.netloc.rpartition("@")[2]).geturl(),
    )


class Memory:
    """Where the SDK keeps its tokens."""

    tokens = client_info = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client_info

    async def set_client_info(self, client_info):
        self.client_info = client_info
