"""What registry and executor refuse, asked by the client of docs/grpc.md (`page.py` beside the generated
modules): certificates, identities and rights that are wrong in one thing each."""

import os
import sys
import time

import grpc

import page
from dynamic_mcp.v1 import catalog_pb2, runner_pb2

GET = "/dynamic_mcp.v1.Catalog/Get"
RUN = "/dynamic_mcp.v1.Runner/Run"
CODES = grpc.StatusCode
checks = 0


def check(what, seen, expected):
    global checks
    if seen != expected:
        sys.exit(f"{what}: {seen}, not {expected}")
    checks += 1


def code_of(channel, method, message, metadata, streaming=False):
    """The code of the answer to one message."""
    anything = bytes
    try:
        if streaming:
            ask = channel.stream_stream(method, None, anything)
            for _ in ask(iter([message]), metadata=metadata, timeout=20):
                return CODES.OK
        else:
            channel.unary_unary(method, None, anything)(message, metadata=metadata, timeout=20)
    except grpc.RpcError as error:
        return error.code()
    return CODES.OK


get = catalog_pb2.GetRequest(tenant="default", name="invoice.total").SerializeToString()
other = catalog_pb2.GetRequest(tenant="default", name="another.tool").SerializeToString()


def claims(**changes):
    good = page.claims_of("registry", GET, get, "job", ["mcp:tools:read"])
    return {**good, **changes}


# Row 99: no certificate, one of another authority, and no TLS at all.
root = page.read("ca.pem")
stranger = {
    "private_key": page.read("stranger.key"),
    "certificate_chain": page.read("stranger.pem"),
}
for what, credentials in [
    ("no certificate", grpc.ssl_channel_credentials(root)),
    ("another authority", grpc.ssl_channel_credentials(root, **stranger)),
]:
    for address in (os.environ["REGISTRY"], os.environ["EXECUTOR"]):
        channel = grpc.secure_channel(address, credentials)
        seen = code_of(channel, GET, get, page.metadata_of(claims()))
        check(what, seen, CODES.UNAVAILABLE)
plain = grpc.insecure_channel(os.environ["REGISTRY"])
check("no TLS", code_of(plain, GET, get, page.metadata_of(claims())), CODES.UNAVAILABLE)

# Row 100: with the certificate, and an identity that is wrong.
now = int(time.time())
ask = lambda metadata, message=get: code_of(page.registry, GET, message, metadata)
check("good", ask(page.metadata_of(claims())), CODES.OK)
check("no identity", ask([]), CODES.UNAUTHENTICATED)
check("nonsense", ask([("dynamic-mcp-identity", "a.b.c")]), CODES.UNAUTHENTICATED)
twice = page.metadata_of(claims())[:1] * 2
check("two identities", ask(twice), CODES.UNAUTHENTICATED)
for what, changes, expected in [
    ("expired", {"iat": now - 120, "exp": now - 60}, CODES.UNAUTHENTICATED),
    ("too long", {"exp": now + 3600}, CODES.UNAUTHENTICATED),
    ("foreign audience", {"aud": "executor"}, CODES.UNAUTHENTICATED),
    ("other method", {"mth": RUN}, CODES.UNAUTHENTICATED),
    ("other issuer", {"iss": "gateway"}, CODES.UNAUTHENTICATED),
    ("other tenant", {"tenant": "acme"}, CODES.PERMISSION_DENIED),
    ("more scopes", {"scopes": ["mcp:admin"]}, CODES.PERMISSION_DENIED),
    ("internal", {"scopes": ["dynamic-mcp:internal"]}, CODES.PERMISSION_DENIED),
]:
    check(what, ask(page.metadata_of(claims(**changes))), expected)
check("other request", ask(page.metadata_of(claims()), other), CODES.UNAUTHENTICATED)

# A run is done once; what was captured is worth nothing.
call = page.call_of("replayed", "return 1", {})
message = runner_pb2.RunRequest(call=call).SerializeToString()
captured = page.metadata_of(page.claims_of("executor", RUN, message, "job", ["mcp:invoke"]))
check("first", code_of(page.executor, RUN, message, captured, True), CODES.OK)
check("replay", code_of(page.executor, RUN, message, captured, True), CODES.ALREADY_EXISTS)

# Row 102: methods that are not for internal services.
for method in [
    "Catalog/Watch",
    "Catalog/SetLock",
    "Fleet/Watch",
    "Fleet/Heartbeat",
    "Audit/Append",
    "Nothing/Known",
]:
    path = f"/dynamic_mcp.v1.{method}"
    asked = page.claims_of("registry", path, b"", "job", ["mcp:invoke"])
    seen = code_of(page.registry, path, b"", page.metadata_of(asked))
    check(method, seen, CODES.PERMISSION_DENIED)

print(f"ok {checks} checks")
