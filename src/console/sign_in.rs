//! The way in and out: one-time links, invitations, the cookie.

use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::http::HeaderValue;
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::Console;
use super::failure::Failure;
use super::page::{Page, render};
use super::visitor::{Reader, Visitor, signed_in};
use crate::manage::{Problem, SESSION_COOKIE, caller_address, cookie, cookies};
use crate::model::language::Language;
use crate::model::random::SystemEntropy;
use crate::model::token::Token;
use crate::oidc::{Callback, Flow, OidcError, Provider};
use crate::service::ServiceError;
use crate::service::sign_in::{SESSION_LIFETIME, SignedIn};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    page: Page,
    has_provider: bool,
}

#[derive(Template)]
#[template(path = "link.html")]
struct LinkPage {
    page: Page,
    lead: String,
    action: String,
    submit: String,
}

/// What a browser keeps of a sign-in that is under way.
const FLOW_COOKIE: &str = crate::model::cookie::SIGN_IN;
/// How long somebody may take at the provider, in seconds: long enough for a second factor that has to be looked for.
const FLOW_LIFETIME_S: u32 = 3_600;
/// Flows of one browser at a time. A cookie of one has some 250 bytes, and a head has room for 16 KiB.
const FLOWS_MAX: usize = 8;
/// Characters of the state that name a flow's cookie.
const FLOW_ID_LENGTH: usize = 16;

type Shown = Result<Response, Failure>;

/// How to get in.
pub(super) async fn explain(State(console): State<Console>, Reader(language): Reader) -> Response {
    render(&SignInPage {
        page: Page::signed_out(language),
        has_provider: console.provider.is_some(),
    })
}

/// Off to the identity provider; the browser keeps what is needed to know the answer again.
pub(super) async fn begin(
    State(console): State<Console>,
    Reader(language): Reader,
    parts: Parts,
) -> Shown {
    let provider = provider(&console, language)?;
    let flow = Flow::generate(&SystemEntropy);
    let callback_url = callback_url(&console);
    let beginning = provider.begin(&flow, &callback_url);
    let address = caller_address(&parts);
    let url = beginning.await.map_err(|error| {
        console.sign_in_failures.note(&error, address);
        Failure::new(error, language, None)
    })?;
    let cookie = format!(
        "{}={}; Path=/; Max-Age={FLOW_LIFETIME_S}; Secure; HttpOnly; SameSite=Lax",
        flow_cookie(flow.state.expose()),
        flow.to_text()
    );
    let mut response = with_cookie(Redirect::to(&url), &cookie);
    let is_flow = |name: &&str| name.starts_with(FLOW_COOKIE);
    let under_way = cookies(&parts.headers).map(|(name, _value)| name);
    let under_way: Vec<_> = under_way.filter(is_flow).collect();
    // Browsers send the cookie that was set first first (RFC 6265, section 5.4): the oldest flows end.
    let too_many = under_way.len().saturating_sub(FLOWS_MAX - 1);
    for name in under_way.iter().take(too_many) {
        expire(&mut response, name);
    }
    Ok(response)
}

/// Each flow has a cookie of its own, named after its state: who begins in two tabs comes back in both.
fn flow_cookie(state: &str) -> String {
    let id = state.get(..FLOW_ID_LENGTH).unwrap_or_default();
    format!("{FLOW_COOKIE}-{id}")
}

/// Back from the identity provider.
pub(super) async fn finish(
    State(console): State<Console>,
    Reader(language): Reader,
    Query(callback): Query<Callback>,
    parts: Parts,
) -> Shown {
    let failed = |problem| Failure::new(problem, language, None);
    let provider = provider(&console, language)?;
    let name = flow_cookie(callback.state.as_deref().unwrap_or_default());
    let flow = cookie(&parts.headers, &name).and_then(Flow::parse);
    let absent = OidcError::NotBelieved("this browser began no sign-in");
    let address = caller_address(&parts);
    let not_believed = |error: OidcError| {
        console.sign_in_failures.note(&error, address);
        failed(Problem::from(error))
    };
    let flow = flow.ok_or_else(|| not_believed(absent))?;
    let callback_url = callback_url(&console);
    let finishing = provider.finish(&flow, callback, &callback_url);
    let identity = finishing.await.map_err(not_believed)?;
    let signing_in = console
        .service
        .sign_in_by_address(&identity.email, identity.proof, address);
    let signed_in = signing_in.await.map_err(|error| failed(error.into()))?;
    let mut response = let_in(&signed_in);
    expire(&mut response, &name);
    Ok(response)
}

/// Lets the browser forget a cookie.
fn expire(response: &mut Response, name: &str) {
    let gone = format!("{name}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax");
    if let Ok(gone) = HeaderValue::try_from(gone) {
        response.headers_mut().append(SET_COOKIE, gone);
    }
}

fn provider(console: &Console, language: Language) -> Result<&Provider, Failure> {
    let configured = console.provider.as_deref();
    configured.ok_or_else(|| Failure::new(Problem::not_found(), language, None))
}

/// What is registered with the provider.
fn callback_url(console: &Console) -> String {
    format!("{}/sign-in/callback", console.public.url)
}

/// Previews and scanners of mail follow links: a link is used by the button alone.
pub(super) async fn ask(Reader(language): Reader, Path(token): Path<String>) -> Shown {
    let token = parse(&token, language)?;
    let page = Page::signed_out(language);
    Ok(render(&LinkPage {
        lead: page.text("sign_in.lead"),
        action: format!("/sign-in/{}", token.expose()),
        submit: page.text("sign_in.submit"),
        page,
    }))
}

pub(super) async fn sign_in(
    State(console): State<Console>,
    Reader(language): Reader,
    Path(token): Path<String>,
    parts: Parts,
) -> Shown {
    let token = parse(&token, language)?;
    let signing_in = console.service.sign_in(&token, caller_address(&parts));
    let signed_in = signing_in
        .await
        .map_err(|error| Failure::new(error, language, None))?;
    Ok(let_in(&signed_in))
}

/// Who is invited, and as what.
pub(super) async fn ask_join(
    State(console): State<Console>,
    Reader(language): Reader,
    Path(token): Path<String>,
) -> Shown {
    let token = parse(&token, language)?;
    let finding = console.service.invitation(&token);
    let open = finding
        .await
        .map_err(|error| Failure::new(error, language, None))?;
    let page = Page::signed_out(language);
    let role = page.role(&open.role);
    let values = [("email", open.email.as_str()), ("role", &role)];
    Ok(render(&LinkPage {
        lead: page.text_with_values("sign_in.invited", &values),
        action: format!("/invitation/{}", token.expose()),
        submit: page.text("sign_in.join"),
        page,
    }))
}

pub(super) async fn join(
    State(console): State<Console>,
    Reader(language): Reader,
    Path(token): Path<String>,
    parts: Parts,
) -> Shown {
    let token = parse(&token, language)?;
    let failed = |error| Failure::new(error, language, None);
    let address = caller_address(&parts);
    // Anybody who has proven the address that is invited needs no second user.
    let joined = match signed_in(&console, &parts).await.map_err(failed)? {
        Some(member_context) => member_context.accept_invitation(&token, address).await,
        None => console.service.accept_invitation(&token, address).await,
    };
    Ok(let_in(&joined.map_err(failed)?))
}

fn parse(text: &str, language: Language) -> Result<Token, Failure> {
    Token::parse(text).ok_or_else(|| Failure::new(ServiceError::LinkUsed, language, None))
}

/// Sets the cookie, and shows the first page.
fn let_in(signed_in: &SignedIn) -> Response {
    let lifetime_s = SESSION_LIFETIME.as_secs();
    with_cookie(
        Redirect::to("/keys"),
        &format!(
            "{SESSION_COOKIE}={}; Path=/; Max-Age={lifetime_s}; Secure; HttpOnly; SameSite=Lax",
            signed_in.token.expose()
        ),
    )
}

fn with_cookie(redirect: Redirect, cookie: &str) -> Response {
    let mut response = redirect.into_response();
    if let Ok(mut cookie) = HeaderValue::try_from(cookie) {
        cookie.set_sensitive(true);
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// The form of the switch.
#[derive(Debug, Deserialize)]
pub(super) struct OrganizationChoice {
    membership: String,
}

/// Goes on in another organization.
pub(super) async fn switch(
    visitor: Visitor,
    parts: Parts,
    Form(wanted): Form<OrganizationChoice>,
) -> Shown {
    let membership = wanted.membership.parse();
    let membership = membership.map_err(|_not_an_id| visitor.refused(Problem::not_found()))?;
    let switching = visitor
        .member_context
        .switch_to(membership, caller_address(&parts));
    Ok(let_in(&switching.await.map_err(visitor.failed())?))
}

pub(super) async fn sign_out(visitor: Visitor) -> Shown {
    visitor
        .member_context
        .sign_out()
        .await
        .map_err(visitor.failed())?;
    let gone = format!("{SESSION_COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax");
    Ok(with_cookie(Redirect::to("/sign-in"), &gone))
}
