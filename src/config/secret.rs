//! Secrets of a configuration: in it, or in a file of their own.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::read::{Read, Reader};
use super::tree::Node;
use super::values::path;

/// A text that is never shown.
#[derive(Clone)]
pub(super) struct Secret(pub(super) Zeroizing<String>);

impl Read for Secret {
    const IS_SECRET: bool = true;

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        // All of it: of a list or a table that stands here by mistake, the keys too.
        reader.sources.hide_with_comment(&node.origin);
        reader.text(node).map(|text| Self(Zeroizing::new(text)))
    }
}

/// A file whose content is a [`Secret`], less one newline at the end.
pub(super) struct SecretFile(pub(super) Secret);

impl Read for SecretFile {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let path = path(node, reader)?;
        match read_secret(&path) {
            Ok(secret) => {
                reader.reveal(node);
                Some(Self(secret))
            }
            Err(error) if is_there(&path) => {
                reader.reveal(node);
                let what = format!("cannot read {}: {error}", path.display());
                let help = "a text file of one line that this user may read".to_owned();
                reader.wrong(&node.origin, &what, help);
                None
            }
            Err(_error) => {
                reader.sources.hide_with_comment(&node.origin);
                let help = "write the path of a text file of one line; what is written here is not shown, \
                            for it may be the secret itself";
                reader.wrong(&node.origin, "there is no such file", help.to_owned());
                None
            }
        }
    }
}

/// Whether a path names something: then it is no secret that was written in a path's place.
fn is_there(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// No secret is longer, in bytes; what is was not meant, `/dev/zero` for one.
const SECRET_BYTES_MAX: usize = 65_536;

fn read_secret(path: &Path) -> io::Result<Secret> {
    let mut text = Zeroizing::new(String::with_capacity(SECRET_BYTES_MAX + 1));
    let limit = u64::try_from(SECRET_BYTES_MAX).map_or(u64::MAX, |max| max + 1);
    File::open(path)?.take(limit).read_to_string(&mut text)?;
    if text.len() > SECRET_BYTES_MAX {
        return Err(io::Error::other("it is longer than 65536 bytes"));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    Ok(Secret(Zeroizing::new(line.to_owned())))
}
