//! What a key may be used for.

use std::fmt;
use std::str::FromStr;

/// One permission. A route requires exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The proxied REST API.
    Api,
    /// The proxied MCP server.
    Mcp,
    /// genkan's own management API.
    Manage,
}

impl Scope {
    /// Every scope, in the order in which they are written.
    pub const ALL: [Self; 3] = [Self::Api, Self::Mcp, Self::Manage];

    /// The word used in configuration, headers and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Mcp => "mcp",
            Self::Manage => "manage",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Api => 1,
            Self::Mcp => 2,
            Self::Manage => 4,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word is none of the scopes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown scope `{0}`: the scopes are api, mcp and manage")]
pub struct ScopeError(pub String);

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(word: &str) -> Result<Self, ScopeError> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == word)
            .ok_or_else(|| ScopeError(word.to_owned()))
    }
}

/// A set of scopes. Written as words with single spaces, as OAuth does (RFC 6749 §3.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scopes(u8);

impl Scopes {
    /// No permission at all.
    pub const NONE: Self = Self(0);

    /// What a key gets when nobody says otherwise: the same key works on the API and on the MCP
    /// server, as the Genesis page promises.
    pub const DEFAULT: Self = Self(Scope::Api.bit() | Scope::Mcp.bit());

    /// Every permission.
    pub const ALL: Self = Self(Scope::Api.bit() | Scope::Mcp.bit() | Scope::Manage.bit());

    /// What is in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether `scope` is in the set.
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// What is in one of the sets or in both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether everything in `other` is in the set too.
    pub const fn contains_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes in the set, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .into_iter()
            .filter(move |scope| self.contains(*scope))
    }
}

impl From<Scope> for Scopes {
    fn from(scope: Scope) -> Self {
        Self(scope.bit())
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            write!(f, "{gap}{scope}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

impl FromStr for Scopes {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        text.split_ascii_whitespace().map(str::parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_read_back_from_its_words() {
        let scopes: Scopes = "mcp api".parse().unwrap();
        assert_eq!(scopes, Scopes::DEFAULT);
        assert_eq!(scopes.to_string(), "api mcp");
        assert!(!scopes.contains(Scope::Manage));
    }

    #[test]
    fn an_unknown_word_is_an_error_that_names_the_choices() {
        let error = "api admin".parse::<Scopes>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown scope `admin`: the scopes are api, mcp and manage"
        );
    }
}
