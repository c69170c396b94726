//! An identity provider: a certified one, with a login page on which whoever writes an address is that person.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use super::browser::Browser;
use super::deployment::{Deployment, Engine};
use super::node;
use super::upstream::Upstream;

const CLIENT_ID: &str = "genkan-story";
const CLIENT_SECRET: &str = "s3cret & more:+";

/// A provider that runs; ended when dropped.
pub struct Provider {
    child: Child,
    issuer: String,
}

impl Provider {
    fn start(redirect_uri: &str) -> Self {
        let mut child = Command::new("node")
            .args(["provider.mjs", redirect_uri, CLIENT_ID, CLIENT_SECRET])
            .current_dir(node::oidc_provider())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut issuer = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        while !issuer.starts_with("http") {
            issuer.clear();
            assert!(
                stdout.read_line(&mut issuer).unwrap() > 0,
                "the provider ended"
            );
        }
        std::thread::spawn(move || stdout.lines().for_each(drop));
        Self {
            child,
            issuer: issuer.trim().to_owned(),
        }
    }

    /// From now on its tokens lie in this way.
    pub async fn becomes(&self, mode: &str) {
        let url = format!("{}/test/{mode}", self.issuer);
        let answer = reqwest::Client::new().post(url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An address that is free now, and stays so: the system gives nobody a port below 32768 who asks for any. The provider
/// wants to know where people come back to before anybody listens.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(21_000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A deployment before this upstream whose console has a provider beside its links.
pub async fn deployment(engine: Engine, upstream: &Upstream) -> (Deployment, Provider) {
    house_with(engine, upstream, "").await
}

/// As [`deployment`], with more in its section `[oidc]`.
pub async fn house_with(engine: Engine, upstream: &Upstream, oidc: &str) -> (Deployment, Provider) {
    let url = format!("http://{}", free_address());
    let provider = Provider::start(&format!("{url}/sign-in/callback"));
    let more = format!(
        "[oidc]\nissuer = {:?}\nclient_id = {CLIENT_ID:?}\nclient_secret = {CLIENT_SECRET:?}\n{oidc}",
        provider.issuer
    );
    let deployment = Deployment::new(engine, upstream.plain, &more).await;
    let file = deployment.config();
    let text = std::fs::read_to_string(&file).unwrap();
    let address = url.trim_start_matches("http://");
    let admin = format!("[admin]\nurl = {url:?}\naddress = {address:?}\n");
    let text = text.replace("[admin]\naddress = \"127.0.0.1:0\"\n", &admin);
    std::fs::write(&file, text).unwrap();
    (deployment, provider)
}

/// Walks through the provider's own page, from the console's page at `url`.
pub async fn walk(browser: &Browser, url: &str, who: &str) {
    browser.open(url).await;
    browser.click("#provider").await;
    browser.write("input[name=login]", who).await;
    browser.click("button[type=submit]").await;
}
