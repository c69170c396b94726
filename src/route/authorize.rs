//! The only maker of permits.

use std::sync::Arc;

use super::table::Route;
use crate::auth::Caller;
use crate::model::refusal::Refusal;

/// Leave to forward one request on one route. Nothing else can make one, and
/// nothing is forwarded without one.
#[derive(Debug)]
pub struct Permit<'a> {
    route: &'a Route,
    caller: Option<Arc<Caller>>,
}

impl<'a> Permit<'a> {
    /// The route.
    pub fn route(&self) -> &'a Route {
        self.route
    }

    /// Who calls; none on a public path.
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.as_deref()
    }

    /// Who was admitted by a key, to be counted among the open requests.
    pub fn admitted(&self) -> Option<Arc<Caller>> {
        self.caller.clone()
    }
}

impl Route {
    /// Leave for a caller whose key carries the route's scope and has not used up its rate.
    ///
    /// # Errors
    /// [`Refusal::ScopeMissing`] and [`Refusal::RateExceeded`].
    pub fn authorize(&self, caller: Arc<Caller>) -> Result<Permit<'_>, Refusal> {
        if !caller.principal().scopes.contains(self.config.scope) {
            return Err(Refusal::ScopeMissing(self.config.scope));
        }
        caller.take_turn()?;
        Ok(Permit {
            route: self,
            caller: Some(caller),
        })
    }

    /// Leave without a key, for a path that the configuration calls public.
    pub fn authorize_public(&self, path: &str) -> Option<Permit<'_>> {
        self.is_public(path).then_some(Permit {
            route: self,
            caller: None,
        })
    }

    /// Leave without a key for a preflight of an origin that the configuration serves (Fetch §4.8): a
    /// browser never sends credentials with it.
    pub fn authorize_preflight(&self, origin: &[u8]) -> Option<Permit<'_>> {
        self.accepts_origin(origin).then_some(Permit {
            route: self,
            caller: None,
        })
    }
}
