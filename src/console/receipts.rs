//! The page that ends a revocation: its receipt.

use askama::Template;
use axum::response::Response;

use super::page::{Page, Section, render};
use super::view::ReceiptView;
use super::visitor::Visitor;
use crate::service::{Revocation, ServiceError};

#[derive(Template)]
#[template(path = "receipt.html")]
struct ReceiptPage {
    page: Page,
    /// What was done, in a sentence.
    done: String,
    /// `None`: committed, and not confirmed by every gateway.
    receipt: Option<ReceiptView>,
    /// How many keys ended, where it was more than one matter.
    keys: Option<u64>,
    back: &'static str,
}

/// What a receipt is shown for.
pub(super) struct Ended {
    pub section: Section,
    pub revocation: Revocation,
    pub was_revoked: bool,
    pub keys: Option<u64>,
    /// Where the list is.
    pub back: &'static str,
    /// Said above it.
    pub notice: Option<String>,
}

/// Waits until every gateway has acknowledged it, and shows the receipt.
pub(super) async fn wait_for_acknowledgements(visitor: &Visitor, ended: Ended) -> Response {
    let mut page = Page::of(visitor, ended.section);
    page.notice = ended.notice;
    let (done, receipt) = match visitor
        .member_context
        .wait_for_acknowledgements(ended.revocation)
        .await
    {
        Ok(receipt) if ended.was_revoked => (page.text("receipt.repeated"), Some(receipt.into())),
        Ok(receipt) => (page.text("receipt.settled"), Some(receipt.into())),
        Err(error) => {
            if !matches!(error, ServiceError::Unconfirmed(_)) {
                tracing::error!(%error, "a revocation is committed, and its receipt cannot be had");
            }
            (page.text("receipt.unsettled"), None)
        }
    };
    render(&ReceiptPage {
        page,
        done,
        receipt,
        keys: ended.keys,
        back: ended.back,
    })
}
