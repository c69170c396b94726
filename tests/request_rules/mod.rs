//! Ways round the key that are in the request itself: preflights, public paths, other spellings of a path,
//! a host or a header's name, pages that rebind their name, and credentials that two readers read
//! differently.

mod credentials;
mod forms;
mod names;
mod preflights;
mod public_paths;
mod rebinding;

use crate::support::raw::Answer;
use crate::support::scripted_gateway::{ScriptedGateway, get};

/// The configuration of a route `/swap/` with a credential of the platform's own, and two public paths.
const SWAP: &str = "[[routes]]\nname = \"swap\"\npath_prefix = \"/swap/\"\nupstream = \"genesis\"\n\
    scope = \"api\"\ncors_origins = [\"https://pages.example\"]\n\
    public_paths = [\"/swap/open\", \"/swap/free\"]\n\
    [routes.upstream_credential]\nheader = \"x-api-key\"\nvalue = \"platform\"\n";

/// One request with a key on a connection of its own.
async fn ask_with(scripted: &ScriptedGateway, key: &str, path: &str, headers: &str) -> Answer {
    scripted
        .ask(get(path, &format!("x-api-key: {key}\r\n{headers}")))
        .await
}
