//! Each WebSocket is open while its key is revoked: messages go both ways all the time.

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::interval;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::ground::Ground;
use super::streams::{Opened, looks};
use super::upstream::{EVENT_EVERY, SOCKET, event};
use crate::support::client::Mode;

const UPGRADE: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

type Socket = WebSocketStream<TokioIo<Upgraded>>;

async fn socket(upgraded: Upgraded, role: Role) -> Socket {
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), role, None).await
}

impl Opened {
    /// A WebSocket, to its end.
    pub async fn socket(mut self) {
        // Over HTTP/2 it would be another mechanism (RFC 8441).
        self.mode = Mode::Http1;
        let begun = self.ground.now();
        let Ok((_connection, response)) = self.open(SOCKET, &UPGRADE).await else {
            return;
        };
        let status = response.status().as_u16();
        self.judge(begun, Some(if status == 101 { 200 } else { status }));
        if status != 101 {
            return;
        }
        let Ok(upgraded) = hyper::upgrade::on(response).await else {
            return;
        };
        self.ground.verdict.sockets.add(1);
        self.talk(socket(upgraded, Role::Client).await).await;
    }

    async fn talk(&self, mut socket: Socket) {
        let opened = self.ground.now();
        let (mut ticks, mut looks) = (interval(EVENT_EVERY), looks());
        loop {
            tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        self.ground.judge_bytes(self.key, text.as_bytes());
                    }
                    // The gateway's own farewell, or an end without one.
                    _ => return self.ended(opened),
                },
                _ = ticks.tick() => {
                    let message = Message::text(event(self.ground.now()));
                    if socket.send(message).await.is_err() {
                        return self.ended(opened);
                    }
                }
                _ = looks.tick() => if self.is_outlived() {
                    return;
                }
            }
        }
    }
}

/// The upstream's side: it judges what the client sent, and sends messages of its own.
pub async fn answer(ground: &Ground, key: usize, upgraded: Upgraded) {
    let mut socket = socket(upgraded, Role::Server).await;
    let mut ticks = interval(EVENT_EVERY);
    loop {
        let is_open = tokio::select! {
            message = socket.next() => {
                if let Some(Ok(Message::Text(text))) = &message {
                    ground.judge_bytes(key, text.as_bytes());
                }
                matches!(message, Some(Ok(_)))
            }
            _ = ticks.tick() => socket.send(Message::text(event(ground.now()))).await.is_ok(),
        };
        if !is_open {
            return;
        }
    }
}
