//! The only maker of permits.

use std::sync::Arc;

use super::table::{Route, covers};
use crate::auth::{Admission, Caller};
use crate::config::UpstreamCredential;
use crate::model::refusal::Refusal;
use crate::model::scope::Scopes;

/// Leave to forward one request on one route. Nothing else can make one, and
/// nothing is forwarded without one.
#[derive(Debug)]
pub struct Permit<'a> {
    route: &'a Route,
    admission: Option<Admission>,
}

impl<'a> Permit<'a> {
    /// The route.
    pub fn route(&self) -> &'a Route {
        self.route
    }

    /// Who calls; none on a public path.
    pub fn caller(&self) -> Option<&Caller> {
        self.admission.as_ref().map(|it| &*it.caller)
    }

    /// The platform's own credential, where the route has one that is meant for this caller: for one with
    /// a key, or for everybody on a `path` for which the configuration says so.
    pub fn upstream_credential(&self, path: &str) -> Option<&'a UpstreamCredential> {
        let own = self.route.config.upstream_credential.as_ref()?;
        (self.caller().is_some() || covers(&own.public_paths, path)).then_some(own)
    }

    /// Who was admitted by a key and what for, to be held among the open requests.
    pub fn admitted(&self) -> Option<Admission> {
        self.admission.clone()
    }
}

impl Route {
    /// Leave for a caller whose key carries the route's scope, and those of the routes for which another
    /// reader could take the path (`elsewhere`), and has not used up its rate.
    ///
    /// # Errors
    /// [`Refusal::RouteAmbiguous`], [`Refusal::ScopeMissing`] and [`Refusal::RateExceeded`].
    pub(super) fn authorize(
        &self,
        caller: Arc<Caller>,
        elsewhere: Scopes,
    ) -> Result<Permit<'_>, Refusal> {
        let admission = Admission {
            caller,
            scope: self.config.scope,
            elsewhere,
        };
        admission.check()?;
        admission.caller.check_rate_limit()?;
        Ok(Permit {
            route: self,
            admission: Some(admission),
        })
    }

    /// Leave without a key, for a path that the configuration calls public.
    pub fn authorize_public(&self, path: &str) -> Option<Permit<'_>> {
        self.is_public(path).then_some(Permit {
            route: self,
            admission: None,
        })
    }
}
