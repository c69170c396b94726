//! The ids of JSON-RPC messages (JSON-RPC 2.0 §4 to §6), read while the messages pass.
//!
//! Nothing is kept of a message but its id, so a message may have any length and its id may stand anywhere in it.
//! That is why no JSON library does this work: each keeps at least whole strings.

use std::cell::RefCell;

use memchr::memchr2;
use serde_json::Value;

/// Bytes of one id as it is written. SDKs use small numbers and UUIDs; a longer id is not answered.
const ID_BYTES_MAX: usize = 128;
/// Requests of one body whose ids are kept: more than any client batches (JSON-RPC 2.0 §6).
const IDS_MAX: usize = 64;
/// The longest member name that matters is `method` or `result`, with its quotation marks.
const NAME_BYTES_MAX: usize = 8;

/// The requests of one HTTP request's body that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct PendingCalls(RefCell<Calls>);

#[derive(Debug, Default)]
struct Calls {
    scanner: Scanner,
    ids: Vec<Value>,
}

impl PendingCalls {
    /// Reads a part of the client's body.
    pub(super) fn read_body(&self, chunk: &[u8]) {
        let Calls { scanner, ids } = &mut *self.0.borrow_mut();
        scanner.read(chunk, |message| {
            if message.is_request
                && let Some(id) = message.id
                && ids.len() < IDS_MAX
            {
                ids.push(id);
            }
        });
    }

    /// A response with this id was passed on.
    fn answered(&self, id: &Value) {
        self.0.borrow_mut().ids.retain(|pending| pending != id);
    }

    /// The ids that wait for a response.
    pub(super) fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.0.borrow_mut().ids)
    }
}

/// Finds the responses in an event stream (WHATWG HTML §9.2.5): each event's `data` is one message.
#[derive(Debug, Default)]
pub(super) struct EventReader {
    /// The bytes of the present line so far, as many as its field's name needs.
    name: [u8; FIELD.len()],
    length: usize,
    /// The last byte was a carriage return: a line feed after it belongs to the same line end.
    after_return: bool,
    scanner: Scanner,
    /// The responses in the present event. Without its end a client discards it.
    answered: Vec<Value>,
    /// How much of a byte order mark has come, or all of it where there is none.
    mark_length: usize,
}

/// A byte order mark, which may stand before the first event.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The field of an event that holds its message.
const FIELD: &[u8; 5] = b"data:";

impl EventReader {
    /// Reads a part of the stream.
    pub(super) fn read(&mut self, mut chunk: &[u8], calls: &PendingCalls) {
        while let (Some(mark), Some((byte, rest))) =
            (BYTE_ORDER_MARK.get(self.mark_length), chunk.split_first())
        {
            if byte == mark {
                self.mark_length += 1;
                chunk = rest;
            } else {
                self.mark_length = BYTE_ORDER_MARK.len();
            }
        }
        if self.after_return
            && let Some(rest) = chunk.strip_prefix(b"\n")
        {
            chunk = rest;
            self.after_return = false;
        }
        while !chunk.is_empty() {
            let end = memchr2(b'\r', b'\n', chunk);
            let (part, rest) = chunk.split_at(end.unwrap_or(chunk.len()));
            self.read_part(part);
            self.after_return = rest == b"\r";
            chunk = match rest {
                [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => {
                    self.end_line(calls);
                    rest
                }
                [] => rest,
            };
        }
    }

    fn read_part(&mut self, part: &[u8]) {
        let missing = FIELD.len().saturating_sub(self.length).min(part.len());
        let (name, value) = part.split_at(missing);
        for byte in name {
            if let Some(place) = self.name.get_mut(self.length) {
                *place = *byte;
            }
            self.length += 1;
        }
        if self.length == FIELD.len() && self.name == *FIELD {
            let Self {
                scanner, answered, ..
            } = self;
            scanner.read(value, |message| {
                if message.is_response
                    && let Some(id) = message.id
                    && answered.len() < IDS_MAX
                {
                    answered.push(id);
                }
            });
        }
    }

    /// An empty line ends an event, and the next one begins another message.
    fn end_line(&mut self, calls: &PendingCalls) {
        if self.length == 0 {
            self.scanner = Scanner::default();
            self.answered.drain(..).for_each(|id| calls.answered(&id));
        }
        self.length = 0;
    }
}

/// What one message is.
#[derive(Debug, Default)]
struct Message {
    /// A number or a text; none where there is none, or more than one.
    id: Option<Value>,
    /// It has a `method`: a request, or without an id a notification (§4.1).
    is_request: bool,
    /// It has a `result` or an `error`.
    is_response: bool,
    /// A member's name has an escape: it may be `id`, and nobody here decodes it.
    has_escaped_name: bool,
}

/// Reads JSON for the members of its messages: those of the one object, or of each object of the one array.
#[derive(Debug, Default)]
struct Scanner {
    token: Token,
    /// Objects and arrays that are open.
    depth: usize,
    /// How many are open where a message's members stand; 0: not known yet.
    members_at: usize,
    in_message: bool,
    /// What a text or a number at the members' level is.
    part: Part,
    /// The name, or the value of `id`, as it is written.
    kept: Vec<u8>,
    is_too_long: bool,
    message: Message,
    ids: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Token {
    #[default]
    Structure,
    Text,
    Escape,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Part {
    #[default]
    Name,
    Id,
    Other,
}

impl Scanner {
    fn read(&mut self, mut bytes: &[u8], mut found: impl FnMut(Message)) {
        while let Some((byte, rest)) = bytes.split_first() {
            bytes = match self.token {
                Token::Structure => {
                    self.read_structure(*byte, &mut found);
                    rest
                }
                Token::Escape => {
                    self.keep(&[*byte]);
                    self.token = Token::Text;
                    rest
                }
                Token::Text => self.read_text(bytes),
            };
        }
    }

    /// Reads up to the end of a text or to an escape in it; returns what is left.
    fn read_text<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
        let (text, rest) = bytes.split_at(end);
        self.keep(text);
        let Some((byte, rest)) = rest.split_first() else {
            return rest;
        };
        self.keep(&[*byte]);
        self.token = match byte {
            b'"' => Token::Structure,
            _ => Token::Escape,
        };
        if *byte == b'\\' && self.part == Part::Name && self.is_member() {
            self.message.has_escaped_name = true;
        }
        rest
    }

    fn read_structure(&mut self, byte: u8, found: &mut impl FnMut(Message)) {
        let is_member = self.is_member();
        match byte {
            b'"' => {
                self.keep(b"\"");
                self.token = Token::Text;
            }
            b'{' | b'[' => self.open(byte),
            b'}' | b']' => self.close(byte, found),
            b':' if is_member => self.end_name(),
            b',' if is_member => self.end_value(),
            // A blank within an id makes it none; around a name it says nothing.
            b' ' | b'\t' | b'\r' | b'\n' if self.part == Part::Name || self.kept.is_empty() => {}
            byte => self.keep(&[byte]),
        }
    }

    fn is_member(&self) -> bool {
        self.in_message && self.depth == self.members_at
    }

    fn open(&mut self, byte: u8) {
        if self.is_member() {
            // An id is neither an object nor an array.
            self.is_too_long = true;
        }
        self.depth = self.depth.saturating_add(1);
        if self.members_at == 0 {
            self.members_at = if byte == b'{' { 1 } else { 2 };
        }
        if byte == b'{' && self.depth == self.members_at {
            self.in_message = true;
            self.message = Message::default();
            self.ids = 0;
            self.begin(Part::Name);
        }
    }

    fn close(&mut self, byte: u8, found: &mut impl FnMut(Message)) {
        if byte == b'}' && self.is_member() {
            self.end_value();
            self.in_message = false;
            if self.message.has_escaped_name {
                self.message.id = None;
            }
            found(std::mem::take(&mut self.message));
        }
        self.depth = self.depth.saturating_sub(1);
    }

    fn end_name(&mut self) {
        let part = match &*self.kept {
            b"\"id\"" if !self.is_too_long => Part::Id,
            b"\"method\"" => {
                self.message.is_request = true;
                Part::Other
            }
            b"\"result\"" | b"\"error\"" => {
                self.message.is_response = true;
                Part::Other
            }
            _ => Part::Other,
        };
        self.begin(part);
    }

    fn end_value(&mut self) {
        if self.part == Part::Id {
            self.ids += 1;
            let id = serde_json::from_slice(&self.kept).ok();
            let is_only = self.ids == 1 && !self.is_too_long;
            self.message.id = id.filter(|id: &Value| is_only && (id.is_string() || id.is_number()));
        }
        self.begin(Part::Name);
    }

    fn begin(&mut self, part: Part) {
        self.part = part;
        self.kept.clear();
        self.is_too_long = false;
    }

    fn keep(&mut self, bytes: &[u8]) {
        let most = match self.part {
            Part::Name => NAME_BYTES_MAX,
            Part::Id => ID_BYTES_MAX,
            Part::Other => return,
        };
        if !self.is_member() || self.is_too_long {
            return;
        }
        if self.kept.len().saturating_add(bytes.len()) > most {
            self.is_too_long = true;
            self.kept.clear();
        } else {
            self.kept.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The ids of a body that comes in chunks of this size.
    fn pending(body: &str, chunk: usize) -> Vec<Value> {
        let calls = PendingCalls::default();
        body.as_bytes()
            .chunks(chunk)
            .for_each(|chunk| calls.read_body(chunk));
        calls.take()
    }

    fn left_after(body: &str, stream: &str, chunk: usize) -> Vec<Value> {
        let calls = PendingCalls::default();
        calls.read_body(body.as_bytes());
        let mut events = EventReader::default();
        stream
            .as_bytes()
            .chunks(chunk)
            .for_each(|chunk| events.read(chunk, &calls));
        calls.take()
    }

    #[test]
    fn the_id_of_a_request_is_found_wherever_it_stands() {
        let long = "x".repeat(100_000);
        for (body, ids) in [
            (r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#.to_owned(), vec![json!(7)]),
            (r#"{"method":"a","params":{"id":1,"b":[{"id":2}]},"jsonrpc":"2.0","id":"x\"y"}"#.to_owned(), vec![json!("x\"y")]),
            (format!(r#" {{ "method" : "a" , "params" : "{long}" , "id" : 3 }} "#), vec![json!(3)]),
            (r#"[{"id":1,"method":"a"},{"method":"b"},{"id":"2","method":"c"},{"id":4,"result":{}}]"#.to_owned(), vec![json!(1), json!("2")]),
            (r#"{"id":-1.5,"method":"a"}"#.to_owned(), vec![json!(-1.5)]),
        ] {
            for chunk in [1, 2, 3, 7, 1_000_000] {
                assert_eq!(pending(&body, chunk), ids, "{chunk}: {}", &body[..body.len().min(200)]);
            }
        }
    }

    #[test]
    fn what_has_no_id_that_could_be_answered_has_none() {
        let long = "9".repeat(ID_BYTES_MAX + 1);
        for body in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"method":"a"}"#,
            r#"{"id":null,"method":"a"}"#,
            r#"{"id":true,"method":"a"}"#,
            r#"{"id":{"id":1},"method":"a"}"#,
            r#"{"id":[1],"method":"a"}"#,
            r#"{"id":1,"id":2,"method":"a"}"#,
            r#"{"id":1}"#,
            r#"{"id":1,"result":0}"#,
            r#"{"id":1 2,"method":"a"}"#,
            "{\"id\":\"\n\",\"method\":\"a\"}",
            r#"{"id":1,"\u0069d":2,"method":"a"}"#,
            r#"{"params":{"id":1,"method":"a"}}"#,
            r#"[[{"id":1,"method":"a"}]]"#,
            r#"{"id":1,"method":"#,
            &format!(r#"{{"id":{long},"method":"a"}}"#),
            &format!(r#"{{"id":"{long}","method":"a"}}"#),
        ] {
            assert_eq!(pending(body, 3), Vec::<Value>::new(), "{body}");
        }
        let batch: Vec<_> = (0..1_000)
            .map(|id| json!({"id": id, "method": "a"}))
            .collect();
        assert_eq!(pending(&Value::from(batch).to_string(), 64).len(), IDS_MAX);
    }

    #[test]
    fn a_response_that_passed_is_not_answered_again() {
        let body = r#"[{"id":1,"method":"a"},{"id":"b","method":"c"}]"#;
        for (stream, left) in [
            ("", vec![json!(1), json!("b")]),
            (
                "event: message\r\ndata: {\"result\":{\"id\":\"b\"},\"id\":1}\r\n\r\n",
                vec![json!("b")],
            ),
            (
                ": hello\n\ndata:{\"id\":1,\ndata:\"error\":{}}\n\ndata: {\"id\":\"b\",\"result\":1}\n\n",
                vec![],
            ),
            (
                "data: {\"id\":1,\"method\":\"ping\"}\r\rdata: {\"method\":\"x\"}\r\r",
                vec![json!(1), json!("b")],
            ),
            (
                "\u{feff}data: {\"id\":1,\"result\":1}\n\n",
                vec![json!("b")],
            ),
            // Without the empty line the client has no event.
            (
                "data: {\"id\":1,\"result\":1}\n",
                vec![json!(1), json!("b")],
            ),
            // What is cut short was not passed on as a response; and another field is no message.
            (
                "data: {\"id\":1,\"result\":\n\ndatas: {\"id\":\"b\",\"result\":1}\n\nxdata: {}\n\n",
                vec![json!(1), json!("b")],
            ),
        ] {
            for chunk in [1, 2, 5, 1_000] {
                assert_eq!(left_after(body, stream, chunk), left, "{chunk}: {stream:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), chunk in 1_usize..20) {
            let calls = PendingCalls::default();
            let mut events = EventReader::default();
            for part in bytes.chunks(chunk) {
                calls.read_body(part);
                events.read(part, &calls);
            }
            prop_assert!(calls.take().len() <= IDS_MAX);
        }

        #[test]
        fn what_a_library_reads_is_found(id in "[a-z\\PC]{0,20}", text in "\\PC{0,40}", chunk in 1_usize..50) {
            let body = json!({"params": {"text": text, "id": 5}, "id": id, "method": text}).to_string();
            let found = pending(&body, chunk);
            let written = serde_json::to_string(&id).unwrap().len();
            prop_assert_eq!(found, if written <= ID_BYTES_MAX { vec![json!(id)] } else { vec![] });
        }
    }
}
