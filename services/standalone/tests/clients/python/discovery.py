"""What an unauthorised client learns: 401, and by the SDK's own functions who gives out tokens (RFC 9728).

Both lines of the SDK have these functions in the same module.
"""

import base64
import json

from command_line import check
from mcp.client.auth.utils import (
    build_protected_resource_metadata_discovery_urls,
    create_oauth_metadata_request,
    extract_resource_metadata_from_www_auth,
    handle_protected_resource_response,
    issuers_match,
)


def watched(http):
    """The list that every 401 answer to this HTTP client of the SDK goes into."""
    refusals = []

    async def look(response):
        if response.status_code == 401:
            refusals.append(response)

    http.event_hooks["response"].append(look)
    return refusals


def issuer_of(token):
    """The `iss` of a JWT, unverified: here it only says what the metadata has to name."""
    claims = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["iss"]


async def discovered(http, refusals, options):
    """Follows the 401 that the SDK was answered with, and the well-known places that need no 401."""
    issuer = issuer_of(options.token)
    check(len(refusals) > 0, "without a token the answer is 401")
    named = extract_resource_metadata_from_www_auth(refusals[0])
    check(named is not None, "WWW-Authenticate names the metadata", refusals[0].headers)
    places = build_protected_resource_metadata_discovery_urls(named, options.url)
    check(len(places) == 3 and places[0] == named, "the SDK looks there first, then in two well-known places", places)
    for place in places:
        metadata = await handle_protected_resource_response(await http.send(create_oauth_metadata_request(place)))
        check(metadata is not None, f"{place} is metadata of a protected resource")
        check(str(metadata.resource) == options.url, "of this endpoint", metadata)
        servers = [str(server) for server in metadata.authorization_servers]
        check(any(issuers_match(server, issuer) for server in servers), "whose tokens come from the issuer", metadata)
