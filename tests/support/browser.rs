//! A real browser: Chromium with its driver, headless, one for each story.
//!
//! Found where Debian puts it, or installed with apt-get as root; otherwise the test fails with the command
//! that mends it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};

use super::{apt, within};

const DRIVER: &str = "chromedriver";
/// The browser, its driver, and letters for what the pages say in three languages.
const PACKAGES: [&str; 3] = ["chromium", "chromium-driver", "fonts-noto-cjk"];

/// How a page is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    pub language: &'static str,
    pub scripts: bool,
    pub width: u32,
    pub dark: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            language: "en",
            scripts: true,
            width: 1_280,
            dark: false,
        }
    }
}

/// A browser, closed when dropped.
pub struct Browser {
    pub client: Client,
    driver: Child,
    _profile: tempfile::TempDir,
}

fn driver() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(find_or_install).clone()
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push("/usr/lib/chromium".into());
    folders
        .into_iter()
        .map(|folder| folder.join(DRIVER))
        .find(|file| file.exists())
}

fn find_or_install() -> PathBuf {
    if let Some(found) = find() {
        return found;
    }
    apt::install(&PACKAGES);
    find().unwrap_or_else(|| {
        panic!(
            "no chromedriver: install Chromium with its driver, as with `apt-get install {}`",
            PACKAGES.join(" ")
        )
    })
}

/// How often the driver is started: another process may take the port that it picked
/// before it listens on both IPv4 and IPv6, and then it ends.
const STARTS: usize = 3;

impl Browser {
    pub async fn start(look: Look) -> Self {
        let (driver, port) = (0..STARTS)
            .find_map(|_| start_driver())
            .expect("the driver says its port");
        let profile = tempfile::tempdir().unwrap();
        let mut client =
            ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        client.capabilities(capabilities(look, profile.path()));
        let url = format!("http://127.0.0.1:{port}");
        let connecting = client.connect(&url);
        let client = within("the browser starts", connecting).await.unwrap();
        client.set_window_size(look.width, 1_000).await.unwrap();
        Self {
            client,
            driver,
            _profile: profile,
        }
    }

    pub async fn open(&self, url: &str) {
        within("the page", self.client.goto(url)).await.unwrap();
    }

    pub async fn url(&self) -> String {
        self.client.current_url().await.unwrap().to_string()
    }

    /// The first element that this selects, once it is there and shown.
    pub async fn see(&self, css: &str) -> Element {
        let found = async {
            loop {
                let element = self.client.wait().for_element(Locator::Css(css)).await;
                if let Ok(element) = element
                    && element.is_displayed().await.unwrap_or(false)
                {
                    return element;
                }
            }
        };
        within(css, found).await
    }

    pub async fn text(&self, css: &str) -> String {
        self.see(css).await.text().await.unwrap()
    }

    /// Whether nothing is selected.
    pub async fn lacks(&self, css: &str) -> bool {
        self.client
            .find_all(Locator::Css(css))
            .await
            .unwrap()
            .is_empty()
    }

    pub async fn click(&self, css: &str) {
        let element = self.see(css).await;
        element.click().await.unwrap();
    }

    pub async fn write(&self, css: &str, text: &str) {
        let field = self.see(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    pub async fn value(&self, css: &str) -> String {
        let field = self.see(css).await;
        field.prop("value").await.unwrap().unwrap()
    }

    /// What a form sends along and nobody sees.
    pub async fn hidden(&self, name: &str) -> String {
        let css = format!("input[name={name}]");
        let field = self.client.find(Locator::Css(&css)).await.unwrap();
        field.prop("value").await.unwrap().unwrap()
    }

    /// The page as it is seen, under `target/screenshots`.
    pub async fn picture(&self, name: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let png = self.client.screenshot().await.unwrap();
        std::fs::write(folder.join(format!("{name}.png")), png).unwrap();
    }

    /// Ends it as a person would.
    pub async fn closed(self) {
        within("the browser ends", self.client.clone().close())
            .await
            .unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}

/// The driver's process and its port; none where it ended before it listened.
fn start_driver() -> Option<(Child, u16)> {
    let mut driver = Command::new(driver())
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let port = port_of(&mut driver);
    if port.is_none() {
        drop(driver.kill());
        drop(driver.wait());
    }
    Some((driver, port?))
}

/// The driver says where it listens.
fn port_of(driver: &mut Child) -> Option<u16> {
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = lines.find_map(|line| {
        let line = line.unwrap();
        let port = line.split("successfully on port ").nth(1)?;
        port.trim_end_matches('.').parse().ok()
    });
    // What it says later is read and forgotten, so that it never waits for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    port
}

fn capabilities(look: Look, profile: &Path) -> serde_json::Map<String, Value> {
    let mut arguments = vec![
        "--headless=new".to_owned(),
        "--no-sandbox".to_owned(),
        "--disable-dev-shm-usage".to_owned(),
        "--disable-gpu".to_owned(),
        "--no-first-run".to_owned(),
        // It asks nobody on the network for anything.
        "--disable-background-networking".to_owned(),
        "--disable-component-update".to_owned(),
        "--disable-sync".to_owned(),
        "--disable-quic".to_owned(),
        "--hide-scrollbars".to_owned(),
        format!("--user-data-dir={}", profile.display()),
        format!("--lang={}", look.language),
        format!("--accept-lang={}", look.language),
    ];
    if look.dark {
        arguments.push("--force-dark-mode".to_owned());
        arguments.push("--blink-settings=preferredColorScheme=0".to_owned());
    }
    let mut preferences = json!({ "intl.accept_languages": look.language });
    if !look.scripts {
        preferences["profile.managed_default_content_settings.javascript"] = json!(2);
    }
    let capabilities = json!({
        "browserName": "chrome",
        "goog:chromeOptions": { "args": arguments, "prefs": preferences },
    });
    capabilities.as_object().unwrap().clone()
}
