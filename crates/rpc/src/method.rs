//! Every method of the protocol, with its bounds.

/// One gRPC method.
#[derive(Debug)]
pub(crate) struct Method {
    /// Full name of the service.
    pub(crate) service: &'static str,
    /// Name of the method.
    pub(crate) name: &'static str,
    /// Path of the request.
    pub(crate) path: &'static str,
    /// Largest request message, in bytes.
    pub(crate) max_request_bytes: usize,
    /// Largest response message, in bytes.
    pub(crate) max_response_bytes: usize,
    /// Whether it changes or runs something, so that its token is accepted once only.
    pub(crate) has_effects: bool,
    /// Whether its answer takes as long as something runs.
    pub(crate) is_long: bool,
}

const MIB: usize = 1024 * 1024;

macro_rules! method {
    ($service:literal, $name:literal, $request:expr, $response:expr, $effects:literal) => {
        Method {
            service: concat!("dynamic_mcp.v1.", $service),
            name: $name,
            path: concat!("/dynamic_mcp.v1.", $service, "/", $name),
            max_request_bytes: $request,
            max_response_bytes: $response,
            has_effects: $effects,
            is_long: false,
        }
    };
    (long $service:literal, $name:literal, $request:expr, $response:expr, $effects:literal) => {
        Method {
            is_long: true,
            ..method!($service, $name, $request, $response, $effects)
        }
    };
}

// A call holds up to 16 MiB of arguments and 800 KB of code; a result up to 10 MB of output, which
// JSON may stretch.
pub(crate) static RUN: Method = method!("Runner", "Run", 20 * MIB, 20 * MIB, true);
pub(crate) static RESOLVE: Method = method!(long "Runner", "Resolve", MIB, 4 * MIB, true);
pub(crate) static CREATE: Method = method!("Catalog", "Create", 4 * MIB, 4 * MIB, true);
pub(crate) static UPDATE: Method = method!("Catalog", "Update", 4 * MIB, 4 * MIB, true);
pub(crate) static DELETE: Method = method!("Catalog", "Delete", MIB, MIB, true);
pub(crate) static GET: Method = method!("Catalog", "Get", MIB, 4 * MIB, false);
pub(crate) static GET_CODE: Method = method!("Catalog", "GetCode", MIB, 4 * MIB, false);
pub(crate) static GET_LOCK: Method = method!("Catalog", "GetLock", MIB, 4 * MIB, false);
pub(crate) static SET_LOCK: Method = method!("Catalog", "SetLock", 4 * MIB, 4 * MIB, true);
pub(crate) static WATCH_CATALOG: Method = method!("Catalog", "Watch", MIB, 4 * MIB, false);
pub(crate) static HEARTBEAT: Method = method!("Fleet", "Heartbeat", MIB, MIB, true);
pub(crate) static LEAVE: Method = method!("Fleet", "Leave", MIB, MIB, true);
pub(crate) static WATCH_FLEET: Method = method!("Fleet", "Watch", MIB, 4 * MIB, false);

// Two thousand lines, and one of them alone may be a megabyte.
pub(crate) static AUDIT_HEAD: Method = method!("Audit", "Head", MIB, MIB, false);
pub(crate) static AUDIT_APPEND: Method = method!("Audit", "Append", 4 * MIB, MIB, true);
pub(crate) static AUDIT_SEGMENTS: Method = method!("Audit", "Segments", MIB, 4 * MIB, false);
pub(crate) static AUDIT_SEARCH: Method = method!("Audit", "Search", MIB, 16 * MIB, false);

pub(crate) static OPEN: Method = method!(long "Sessions", "Open", MIB, MIB, true);
// Twenty commands of 64 KiB; their output is bounded like a call's, and JSON may stretch neither.
pub(crate) static EXEC: Method = method!(long "Sessions", "Exec", 4 * MIB, 64 * MIB, true);
pub(crate) static RUN_IN: Method = method!("Sessions", "RunIn", 20 * MIB, 20 * MIB, true);
pub(crate) static WRITE_FILE: Method = method!(long "Sessions", "WriteFile", 9 * MIB, MIB, true);
pub(crate) static READ_FILE: Method = method!(long "Sessions", "ReadFile", MIB, 9 * MIB, false);
pub(crate) static LIST_FILES: Method = method!(long "Sessions", "ListFiles", MIB, 4 * MIB, false);
pub(crate) static STOP: Method = method!("Sessions", "Stop", MIB, MIB, true);
pub(crate) static LIST: Method = method!("Sessions", "List", MIB, 4 * MIB, false);

// A tenant's keys are two thousand at most, each with 2 KiB of scopes.
pub(crate) static CREATE_KEY: Method = method!("Keys", "Create", MIB, MIB, true);
pub(crate) static LIST_KEYS: Method = method!("Keys", "List", MIB, 16 * MIB, false);
pub(crate) static REVOKE_KEY: Method = method!("Keys", "Revoke", MIB, MIB, true);
pub(crate) static ROTATE_KEY: Method = method!("Keys", "Rotate", MIB, MIB, true);
pub(crate) static WATCH_KEYS: Method = method!("Keys", "Watch", MIB, MIB, false);
pub(crate) static TOUCH_KEYS: Method = method!("Keys", "Touch", MIB, MIB, true);

/// All of them.
pub(crate) static ALL: [&Method; 31] = [
    &RUN,
    &RESOLVE,
    &GET_LOCK,
    &SET_LOCK,
    &OPEN,
    &EXEC,
    &RUN_IN,
    &WRITE_FILE,
    &READ_FILE,
    &LIST_FILES,
    &STOP,
    &LIST,
    &CREATE,
    &UPDATE,
    &DELETE,
    &GET,
    &GET_CODE,
    &WATCH_CATALOG,
    &HEARTBEAT,
    &LEAVE,
    &WATCH_FLEET,
    &AUDIT_HEAD,
    &AUDIT_APPEND,
    &AUDIT_SEGMENTS,
    &AUDIT_SEARCH,
    &CREATE_KEY,
    &LIST_KEYS,
    &REVOKE_KEY,
    &ROTATE_KEY,
    &WATCH_KEYS,
    &TOUCH_KEYS,
];

/// The method with this path.
pub(crate) fn at(path: &str) -> Option<&'static Method> {
    ALL.into_iter().find(|method| method.path == path)
}
