//! Every reason to say no. What a refusal looks like on the wire is decided in one place above
//! (`proxy::respond`); what is logged and counted is decided here, once.

use super::scope::Scope;

/// Why a request was not forwarded, or why its forwarding failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The request is not what HTTP allows, or two readers could understand it differently.
    BadRequest(BadRequest),
    /// CONNECT and TRACE are not forwarded.
    MethodNotAllowed,
    /// An `Expect` other than `100-continue` (RFC 9110 §10.1.1).
    ExpectationFailed,
    /// The request target is longer than its limit.
    TargetTooLong,
    /// The header section is larger than its limit (RFC 6585 §5).
    HeadTooLarge,
    /// The body is larger than its limit.
    BodyTooLarge,
    /// The client stopped sending its body.
    BodyTimeout,
    /// No route has this host and path.
    NoRoute,
    /// The request brought no credential (RFC 6750 §3.1: no error code then).
    CredentialAbsent,
    /// It brought something that cannot be a key.
    CredentialMalformed,
    /// Two different credentials: which one is meant would be a guess.
    CredentialConflict,
    /// The store does not know the key.
    KeyUnknown,
    /// The key was revoked.
    KeyRevoked,
    /// The key expired.
    KeyExpired,
    /// The key was rotated, and the time in which both keys are accepted has ended.
    KeyReplaced,
    /// The key lacks the scope that the route requires.
    ScopeMissing(Scope),
    /// A lenient reader of the path would choose a route that the caller may not use.
    RouteAmbiguous,
    /// A browser's `Origin` that the route does not accept: of an MCP request, or of a preflight.
    OriginRefused,
    /// An MCP session that another key opened.
    SessionOfAnother,
    /// OAuth discovery on a gateway that takes keys only.
    OAuthAbsent,
    /// The key used up its rate; try again after this many seconds.
    RateExceeded {
        /// Whole seconds, at least 1.
        retry_after_s: u32,
    },
    /// The store could not say in time whether the key is good.
    StoreUnavailable,
    /// The lease is out: this instance may have missed a revocation.
    LeaseExpired,
    /// The lease ran out after the request was forwarded: its answer may not be passed on.
    AnswerWithheld,
    /// As many requests wait for the store as may.
    LookupsExhausted,
    /// This process has no file descriptor left for a connection to the upstream.
    DescriptorsExhausted,
    /// No connection to the upstream could be made.
    UpstreamUnreachable,
    /// The upstream broke off, or answered what is not HTTP.
    UpstreamFailed,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// A tunnel in which nothing moved for too long.
    TunnelIdle,
    /// The gateway ends, and this request did not end in the time that it had.
    ShuttingDown,
}

/// A sequence of bytes in a path that two readers could take differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathFault {
    /// What it is.
    pub kind: PathFaultKind,
    /// Its first byte, counted from 0 in the path as it came. A target has at most 65,536 bytes.
    pub at: u16,
    /// How many bytes it has.
    pub length: u16,
}

/// What makes a path ambiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathFaultKind {
    /// It does not begin with a slash.
    NotAbsolute,
    /// A character that a path may only have as an escape (RFC 3986 §3.3).
    Character,
    /// Two slashes with nothing between them.
    EmptySegment,
    /// `.` or `..`, or what some readers take for it.
    DotSegment,
    /// `%` without two hexadecimal digits (RFC 3986 §2.1).
    Escape,
    /// An escaped separator, control character or percent sign: who decodes it finds another path.
    EncodedSeparator,
    /// Escapes that are not UTF-8.
    NotUtf8,
}

impl PathFaultKind {
    /// What it is called, and what to do about it.
    pub const fn as_str(self) -> (&'static str, &'static str) {
        match self {
            Self::NotAbsolute => ("the beginning", "Begin the path with `/`."),
            Self::Character => ("the character", "Send it percent-encoded."),
            Self::EmptySegment => (
                "the empty segment",
                "Send one slash; a base URL with a slash at its end, joined to a path that begins with one, makes two.",
            ),
            Self::DotSegment => ("the dot segment", "Resolve it before the request is sent."),
            Self::Escape => (
                "the incomplete escape",
                "Write a percent sign as `%25`, or leave it out.",
            ),
            Self::EncodedSeparator => (
                "the encoded separator or control character",
                "Send a path without it.",
            ),
            Self::NotUtf8 => ("the escapes that are not UTF-8", "Encode text as UTF-8."),
        }
    }
}

/// What was wrong with a malformed or ambiguous request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRequest {
    /// No host, several, a list, or user information in it.
    Host,
    /// The target's host and the `Host` header differ.
    HostMismatch,
    /// A target that is neither a path nor an absolute URI.
    Target,
    /// A path that two readers could resolve differently.
    Path(PathFault),
    /// Transfer-Encoding in HTTP/1.0, or another than `chunked`.
    TransferEncoding,
    /// Both Content-Length and Transfer-Encoding, or a Content-Length that is no number.
    ContentLength,
    /// A body whose chunks are malformed, or that ended before its announced end.
    Body,
    /// An upgrade that was not asked for properly.
    Upgrade,
    /// Two MCP sessions, or one under a name that only some readers take for `Mcp-Session-Id`.
    McpSession,
}

impl BadRequest {
    /// One sentence for the caller.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "The request must name exactly one host.",
            Self::HostMismatch => "The host of the request target and the Host header differ.",
            Self::Target => "The request target must be a path or an absolute URI.",
            Self::Path(_) => "The path can be read in two ways.",
            Self::TransferEncoding => "The transfer encoding is not one that is forwarded.",
            Self::ContentLength => "The length of the body is ambiguous.",
            Self::Body => "The body is malformed, or ended before it was complete.",
            Self::Upgrade => "The upgrade was not asked for as RFC 9110 section 7.8 says.",
            Self::McpSession => "The MCP session must be named once, in `Mcp-Session-Id`.",
        }
    }
}

impl Refusal {
    /// Whether it says that the key does not open, or not here; else asking again may help.
    pub const fn is_about_the_key(self) -> bool {
        matches!(
            self,
            Self::KeyUnknown
                | Self::KeyRevoked
                | Self::KeyExpired
                | Self::KeyReplaced
                | Self::ScopeMissing(_)
                | Self::RouteAmbiguous
        )
    }

    /// Whether it says that the request brought no credential, or one that does not open.
    pub const fn is_about_the_credential(self) -> bool {
        matches!(
            self,
            Self::CredentialAbsent
                | Self::CredentialMalformed
                | Self::KeyUnknown
                | Self::KeyRevoked
                | Self::KeyExpired
                | Self::KeyReplaced
        )
    }

    /// The word under which it is logged and counted. For people who operate genkan: unlike what the
    /// caller is told, it tells an unknown key from a revoked one.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BadRequest(BadRequest::Host) => "bad_host",
            Self::BadRequest(BadRequest::HostMismatch) => "host_mismatch",
            Self::BadRequest(BadRequest::Target) => "bad_target",
            Self::BadRequest(BadRequest::Path(_)) => "ambiguous_path",
            Self::BadRequest(BadRequest::TransferEncoding) => "bad_transfer_encoding",
            Self::BadRequest(BadRequest::ContentLength) => "bad_content_length",
            Self::BadRequest(BadRequest::Body) => "bad_body",
            Self::BadRequest(BadRequest::Upgrade) => "bad_upgrade",
            Self::BadRequest(BadRequest::McpSession) => "bad_mcp_session",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::ExpectationFailed => "expectation_failed",
            Self::TargetTooLong => "target_too_long",
            Self::HeadTooLarge => "head_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::NoRoute => "no_route",
            Self::CredentialAbsent => "credential_absent",
            Self::CredentialMalformed => "credential_malformed",
            Self::CredentialConflict => "credential_conflict",
            Self::KeyUnknown => "key_unknown",
            Self::KeyRevoked => "key_revoked",
            Self::KeyExpired => "key_expired",
            Self::KeyReplaced => "key_replaced",
            Self::ScopeMissing(_) => "scope_missing",
            Self::RouteAmbiguous => "ambiguous_route",
            Self::OriginRefused => "origin_refused",
            Self::SessionOfAnother => "session_of_another_key",
            Self::OAuthAbsent => "oauth_absent",
            Self::RateExceeded { .. } => "rate_exceeded",
            Self::StoreUnavailable => "store_unavailable",
            Self::LeaseExpired => "lease_expired",
            Self::AnswerWithheld => "answer_withheld",
            Self::LookupsExhausted => "lookups_exhausted",
            Self::DescriptorsExhausted => "descriptors_exhausted",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamFailed => "upstream_failed",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::TunnelIdle => "tunnel_idle",
            Self::ShuttingDown => "shutting_down",
        }
    }
}
