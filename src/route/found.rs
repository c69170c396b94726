//! A route that was found for a path; and what a lenient reader of that path would have to ask for.

use std::sync::Arc;

use super::authorize::Permit;
use super::table::Route;
use crate::auth::Caller;
use crate::model::refusal::Refusal;
use crate::model::scope::Scopes;

/// The route of a request. The only way from there to a [`Permit`]: what the routes ask for that a lenient
/// reader would choose (see `lenient`) is asked for here too.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    route: &'a Route,
    /// The scopes of the more specific routes that a lenient reader finds, where they want a key.
    elsewhere: Scopes,
    /// Whether one of them speaks MCP, and the route itself does not: its rules for origins and sessions
    /// would not be held.
    hides_mcp: bool,
}

impl<'a> Found<'a> {
    /// `route`, that nobody takes for another.
    pub(super) fn new(route: &'a Route) -> Self {
        Self {
            route,
            elsewhere: Scopes::NONE,
            hides_mcp: false,
        }
    }

    /// A lenient reader could choose `other`, where the path is public or not.
    pub(super) fn could_be(&mut self, other: &Route, is_public: bool) {
        if !is_public {
            self.elsewhere = self.elsewhere.or(other.config.scope.into());
        }
        self.hides_mcp |= other.config.mcp && !self.route.config.mcp;
    }

    /// The route.
    pub fn route(&self) -> &'a Route {
        self.route
    }

    /// Leave without a key, where `path` is public; none where it is not.
    ///
    /// # Errors
    /// [`Refusal::RouteAmbiguous`] if a lenient reader would want a key. What the configuration names in
    /// these very letters is meant.
    pub fn authorize_public(&self, path: &str) -> Result<Option<Permit<'a>>, Refusal> {
        let Some(permit) = self.route.authorize_public(path) else {
            return Ok(None);
        };
        let is_named = || self.route.config.public_paths.iter().any(|it| it == path);
        if (self.hides_mcp || !self.elsewhere.is_empty()) && !is_named() {
            return Err(Refusal::RouteAmbiguous);
        }
        Ok(Some(permit))
    }

    /// Leave for a caller whose key carries the scopes and has not used up its rate.
    ///
    /// # Errors
    /// [`Refusal::RouteAmbiguous`] if a lenient reader would choose a route that the caller may not use,
    /// [`Refusal::ScopeMissing`] and [`Refusal::RateExceeded`].
    pub fn authorize(&self, caller: Arc<Caller>) -> Result<Permit<'a>, Refusal> {
        if self.hides_mcp {
            return Err(Refusal::RouteAmbiguous);
        }
        self.route.authorize(caller, self.elsewhere)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Routes;
    use super::super::path::canonical;
    use crate::config;
    use crate::model::scope::Scope;

    fn routes() -> Routes {
        compiled(&[
            ("api", "/api/", "api"),
            ("admin", "/api/Admin/", "manage"),
            ("open", "/api/admin/open/", "api"),
        ])
    }

    fn compiled(wanted: &[(&str, &str, &str)]) -> Routes {
        let route = |(name, prefix, scope): &(&str, &str, &str)| {
            format!(
                "[[routes]]\nname = \"{name}\"\npath_prefix = \"{prefix}\"\nupstream = \"u\"\nscope = \"{scope}\"\n"
            )
        };
        let text = format!(
            "[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\n[upstreams.u]\nurls = [\"http://u\"]\n\
             [store]\nsqlite = \"x\"\n{}",
            wanted.iter().map(route).collect::<String>(),
        );
        let config = config::parse("test", &text, std::path::Path::new(""), []).unwrap();
        Routes::new(&config, &[])
    }

    /// A letter in either case, perhaps escaped, or in full width.
    fn disguised(word: &'static str) -> impl Strategy<Value = String> {
        let letters = word.chars().map(|letter| {
            let wide = char::from_u32(u32::from(letter) + 0xfee0).unwrap();
            let escape = |text: String| {
                let escapes: Vec<_> = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
                escapes.concat()
            };
            let upper = letter.to_ascii_uppercase();
            prop_oneof![
                3 => Just(letter.to_string()),
                1 => Just(upper.to_string()),
                1 => Just(escape(letter.to_string())),
                1 => Just(escape(wide.to_string())),
            ]
        });
        let end = "(;x|:y|%20|\\+|\\.|%3B|%E2%80%8B){0,2}";
        (letters.collect::<Vec<_>>(), end).prop_map(|(letters, end)| letters.concat() + &end)
    }

    proptest! {
        /// Whatever is done to a path of the stricter route, its scope is asked for, or the path is
        /// refused, or there is no route.
        #[test]
        fn no_disguise_gets_round_a_stricter_route(
            (api, admin, rest) in (disguised("api"), disguised("admin"), "\\.[a-z]{1,4}/?|(/[a-zA-Z]{0,3}){0,2}")
        ) {
            let routes = routes();
            if let Ok(path) = canonical(&format!("/{api}/{admin}{rest}"))
                && let Some(found) = routes.find("any", &path)
            {
                let own = found.route.config.scope;
                prop_assert!(own == Scope::Manage || found.elsewhere.contains(Scope::Manage), "{path}");
            }
        }
    }

    #[test]
    fn prefixes_that_only_some_tell_apart_are_compared_whatever_their_lengths() {
        for strict in ["/api/Admin/", "/api/admin/", "/api/aDMIN/"] {
            for weak in [
                "/api/ADMIN/",
                "/api/admin./",
                "/api/admin;x/",
                "/ApI/admiN/",
            ] {
                let routes = compiled(&[("strict", strict, "manage"), ("weak", weak, "api")]);
                let Ok(path) = canonical(weak) else {
                    panic!("{weak} is refused");
                };
                let found = routes.find("any", &path).unwrap();
                assert_eq!(found.route.config.name, "weak", "{strict} {weak}");
                assert!(found.elsewhere.contains(Scope::Manage), "{strict} {weak}");
            }
        }
    }

    #[test]
    fn a_program_before_the_path_does_not_hide_a_strict_route_and_may_be_one() {
        let routes = compiled(&[
            ("api", "/", "api"),
            ("admin", "/admin/", "manage"),
            ("program", "/legacy/index.php", "manage"),
        ]);
        let elsewhere = |path: &str| routes.find("any", path).unwrap().elsewhere;
        assert!(elsewhere("/index.php/admin/u").contains(Scope::Manage));
        assert!(elsewhere("/legacy/Index.php/u").contains(Scope::Manage));
        assert!(elsewhere("/legacy/x").is_empty());
        assert!(elsewhere("/index.php/other").is_empty());
    }

    #[test]
    fn a_longer_weak_prefix_does_not_hide_a_strict_one_between() {
        let routes = routes();
        // To who cuts parameters and minds the case, this is below `/api/Admin/` alone.
        let found = routes.find("any", "/api/Admin;x/OPEN/u").unwrap();
        assert!(found.elsewhere.contains(Scope::Manage));
        let found = routes.find("any", "/api/other/u").unwrap();
        assert!(found.elsewhere.is_empty());
    }
}
