//! Which scope a request lacks, told before it is carried out: HTTP answers that with 403 and asks
//! the client to get a token that has it.

use domain::principal::{Action, authorize};
use domain::{Principal, RawValue, Scope};

use crate::admin;
use crate::gateway::Gateway;

impl Gateway {
    /// The scope that the caller lacks for a method, or for a built-in. What a tool requires on its
    /// own is not told: without it the tool is unknown.
    #[must_use]
    pub fn missing_scope(
        &self,
        principal: &Principal,
        method: &str,
        tool: Option<&str>,
        arguments: Option<&RawValue>,
    ) -> Option<Scope> {
        let built_in = tool.and_then(|tool| self.built_in(tool));
        let action = match (method, built_in) {
            ("tools/call", Some(built_in)) => built_in.action(),
            (
                "tools/call"
                | "resources/list"
                | "resources/templates/list"
                | "prompts/list"
                | "prompts/get"
                | "completion/complete",
                _,
            ) => Action::UseBuiltIn,
            ("resources/read", _) => Action::Operate,
            _ => return None,
        };
        if authorize(principal, action).is_ok() {
            return None;
        }
        let manages = built_in.is_some_and(|built_in| built_in.is_management());
        if manages && self.brings_admin_token(arguments) {
            return None;
        }
        Some(action.scope())
    }

    /// Whether the arguments hold the admin token, as old clients send it.
    fn brings_admin_token(&self, arguments: Option<&RawValue>) -> bool {
        let taken = arguments.map(|arguments| admin::take_token(arguments.get()));
        matches!(taken, Some(Ok((_, Some(token)))) if self.is_admin_token(&token))
    }
}
