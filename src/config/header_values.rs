//! Names of headers in a configuration: which of them a route may set, keep, or let pages send.

use http::HeaderName;

use super::read::{Read, Reader};
use super::tree::Node;
use super::values::parsed_unless;
use crate::model::header;

/// Hop-by-hop (RFC 9110 §7.6.1), framing, routing, and what genkan says of the request; folded.
const RESERVED: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-request-id",
];

/// Any header's name. What is none may be a whole line, with the credential in it.
fn name(node: &Node, reader: &mut Reader) -> Option<HeaderName> {
    let complaint = ("not the name of a header", "for example \"x-api-key\"");
    let whole_line = |text: &str| {
        !text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b':')
    };
    parsed_unless(node, reader, complaint, whole_line, |text| {
        text.parse().ok()
    })
}

/// A header that a route may set: none that frames a message, names the caller or is genkan's own.
pub(super) struct UpstreamHeader(pub(super) HeaderName);

impl UpstreamHeader {
    fn is_reserved(name: &str) -> bool {
        // Servers that fold `_` into `-` see one header in both.
        let folded = header::fold(name);
        RESERVED.contains(&&*folded)
            || folded.starts_with("x-genkan-")
            || folded.starts_with("x-forwarded-")
    }
}

impl Read for UpstreamHeader {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let name = name(node, reader)?;
        if Self::is_reserved(name.as_str()) {
            let help = "it belongs to the connection, or to what genkan says of the caller";
            reader.wrong(&node.origin, "this header is reserved", help.to_owned());
            return None;
        }
        Some(Self(name))
    }
}

/// A header that is removed unless a route names it.
pub(super) struct KeptHeader(pub(super) HeaderName);

impl Read for KeptHeader {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let name = name(node, reader)?;
        let is_removed = header::names_another_target(name.as_str()) || name == "x-forwarded-host";
        if !is_removed {
            let help = "only a header that names another target is removed and can be kept: \
                        \"x-original-url\", \"x-forwarded-prefix\", \"destination\"";
            reader.wrong(
                &node.origin,
                "there is no choice for this header",
                help.to_owned(),
            );
            return None;
        }
        Some(Self(name))
    }
}

/// A header that pages may send.
pub(super) struct PageHeader(pub(super) HeaderName);

impl Read for PageHeader {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        name(node, reader).map(Self)
    }
}
