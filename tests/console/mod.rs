//! The console, in a real browser: people make, use and end keys, and see what came of it.

mod people;
mod provider;
mod without_scripts;

use std::sync::Arc;

use genkan::config;
use genkan::model::clock::SystemClock;
use genkan::model::member::Role;
use genkan::model::random::SystemEntropy;
use genkan::service::member_context::MemberContext;
use genkan::service::{NewMember, Service};
use genkan::store::{self, WhenAbsent};

use tokio::sync::MutexGuard;

use crate::support::ALONE;
use crate::support::browser::{Browser, Look};
use crate::support::deployment::{Deployment, Engine, Process};
use crate::support::raw::Wire;
use crate::support::upstream::Upstream;

/// A gateway with hana (owner), jun (admin) and mina (member), and its console.
struct Office {
    deployment: Deployment,
    gateway: Process,
    service: Service,
    _upstream: Upstream,
    /// Browsers take a core each: not beside stories that measure.
    _alone: MutexGuard<'static, ()>,
}

impl Office {
    async fn open() -> Self {
        let upstream = Upstream::start().await;
        let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
        Self::in_house(deployment, upstream).await
    }

    async fn in_house(deployment: Deployment, upstream: Upstream) -> Self {
        let alone = ALONE.lock().await;
        let gateway = deployment.start().await;
        let config = config::load(&deployment.config(), []).unwrap();
        let store = store::open(&config.store, WhenAbsent::Create)
            .await
            .unwrap();
        let service = Service::new(store, Arc::new(SystemClock), Arc::new(SystemEntropy));
        for (who, name, role) in [
            ("jun", "Jun 준", Role::Admin),
            ("mina", "美奈 <b>Mina</b>", Role::Member),
        ] {
            let new = NewMember {
                email: format!("{who}@example.com").parse().unwrap(),
                name: name.parse().unwrap(),
                role,
                organization: None,
            };
            service.add_member(new).await.unwrap();
        }
        Self {
            deployment,
            gateway,
            service,
            _upstream: upstream,
            _alone: alone,
        }
    }

    /// Somebody who does things past the console.
    async fn member_context(&self, who: &str) -> MemberContext {
        let email = format!("{who}@example.com").parse().unwrap();
        let (_member, link) = self
            .service
            .create_sign_in_link(&email, None)
            .await
            .unwrap();
        let token = self.service.sign_in(&link, None).await.unwrap().token;
        let member_context = self.service.by_session(&token, None).await;
        member_context.unwrap().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.address("admin"))
    }

    /// A browser in which somebody has used a link from the command line.
    async fn browser_of(&self, who: &str, look: Look) -> Browser {
        let email = format!("{who}@example.com");
        let base = self.url("");
        let link = self
            .deployment
            .run(&["sign-in-link", &email, "--url", &base, "-q"])
            .ok();
        let browser = Browser::start(look).await;
        browser.open(link.trim()).await;
        browser.click("#enter").await;
        browser.see("#list").await;
        browser
    }

    /// What the gateway says to a key.
    async fn gateway_says(&self, key: &str) -> u16 {
        let target = self.deployment.target(&self.gateway, Some(key));
        let request =
            format!("GET /api/identity HTTP/1.1\r\nHost: genkan.test\r\nx-api-key: {key}\r\n\r\n");
        Wire::connect(target.plain).await.ask(request).await.status
    }
}

/// A new key, by the form; its text, and its id.
async fn create_key(browser: &Browser, name: &str) -> String {
    browser.click("#new-key").await;
    browser.write("#key-name", name).await;
    browser.click("#create-key").await;
    browser.value("#secret").await
}
