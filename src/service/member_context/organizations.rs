//! The organizations of a signed-in person: listing them, switching to one, accepting an invitation; and signing out.

use std::net::IpAddr;

use super::MemberContext;
use crate::model::audit::{AuditContext, AuthMethod};
use crate::model::id::{MembershipId, SessionId};
use crate::model::member::{Member, MemberKind, Name, Proof};
use crate::model::token::Token;
use crate::service::ServiceError;
use crate::service::sign_in::SignedIn;
use crate::store::NewSession;

/// A membership of a signed-in person in one of their organizations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherMembership {
    /// The membership.
    pub membership: MembershipId,
    /// The name of its organization.
    pub organization: Name,
}

impl MemberContext {
    /// The present memberships of this e-mail address, in the store's order. There are none without a proof of the
    /// address: an invitation link proves one membership alone. The person may not have entered some of them yet.
    async fn memberships(&self) -> Result<Vec<Member>, ServiceError> {
        if !self.has_proven_address() {
            return Ok(Vec::new());
        }
        let (store, person) = (&self.service.store, self.member());
        let mut memberships = store.members_by_email(&person.email).await?;
        memberships.retain(|one| one.kind == MemberKind::Person);
        Ok(memberships)
    }

    /// Every organization with a member of this e-mail address, this one included. The list is empty if it is the only
    /// one, or if the address is not proven.
    pub async fn organizations(&self) -> Result<Vec<OtherMembership>, ServiceError> {
        let memberships = self.memberships().await?;
        if memberships.len() < 2 {
            return Ok(Vec::new());
        }
        let all = self.service.store.organizations().await?;
        let named = memberships.into_iter().filter_map(|membership| {
            let organization = all
                .iter()
                .find(|one| one.id == membership.organization_id)?;
            Some(OtherMembership {
                membership: membership.membership_id,
                organization: organization.name.clone(),
            })
        });
        Ok(named.collect())
    }

    /// Switches to another organization of the person: a new session with the same proof and age replaces this one.
    /// From then on the membership there belongs to this person.
    ///
    /// # Errors
    /// [`ServiceError::AddressNotProven`] for every membership, so that the answer reveals nothing;
    /// [`ServiceError::NoSuchMember`] for a membership that is not theirs; the store's when this session has ended, or
    /// when the sessions of that organization were ended after it began: then the person signs in again.
    pub async fn switch_to(
        &self,
        membership: MembershipId,
        address: Option<IpAddr>,
    ) -> Result<SignedIn, ServiceError> {
        let AuthMethod::Session(id) = self.auth_method() else {
            return Err(ServiceError::NoSuchMember(membership));
        };
        if !self.has_proven_address() {
            return Err(ServiceError::AddressNotProven);
        }
        let mut memberships = self.memberships().await?.into_iter();
        let there = memberships.find(|one| one.membership_id == membership);
        let there = there.ok_or(ServiceError::NoSuchMember(membership))?;
        let (audit_context, token, session) = self.replacing_session(id, address);
        let store = &self.service.store;
        let member = store
            .begin_session(&there, &session, &audit_context)
            .await?;
        Ok(SignedIn { member, token })
    }

    /// Accepts an invitation in a browser that is signed in, as
    /// [`Service::accept_invitation`](crate::service::Service::accept_invitation). If the person has proven the invited
    /// address, this person becomes the member. A new session replaces this one in any case.
    ///
    /// # Errors
    /// As [`Service::accept_invitation`](crate::service::Service::accept_invitation); and the store's when this session
    /// has ended.
    pub async fn accept_invitation(
        &self,
        link: &Token,
        address: Option<IpAddr>,
    ) -> Result<SignedIn, ServiceError> {
        let open = self.service.invitation(link).await?;
        let arriving = match self.auth_method() {
            AuthMethod::Session(id)
                if self.has_proven_address() && open.email == self.member().email =>
            {
                self.replacing_session(id, address)
            }
            AuthMethod::Session(_)
            | AuthMethod::Key(_)
            | AuthMethod::CommandLine
            | AuthMethod::Gateway
            | AuthMethod::SignIn => self.other_persons_session(address),
        };
        let accepted = self.service.accept(&link.hash(), arriving).await?;
        accepted.ok_or(ServiceError::LinkUsed)
    }

    /// A link alone does not prove that its user is the person of this browser's session: that session ends.
    fn other_persons_session(&self, address: Option<IpAddr>) -> (AuditContext, Token, NewSession) {
        let (audit_context, token, session) = self.service.arriving(Proof::Membership, address);
        let leaves = match self.auth_method() {
            AuthMethod::Session(id) => Some(id),
            AuthMethod::Key(_)
            | AuthMethod::CommandLine
            | AuthMethod::Gateway
            | AuthMethod::SignIn => None,
        };
        (audit_context, token, NewSession { leaves, ..session })
    }

    /// The session that replaces this one.
    fn replacing_session(
        &self,
        id: SessionId,
        address: Option<IpAddr>,
    ) -> (AuditContext, Token, NewSession) {
        let (audit_context, token, session) = self.service.arriving(self.proof(), address);
        let session = NewSession {
            replaces: Some(id),
            ..session
        };
        (audit_context, token, session)
    }

    /// Ends the session of this context. A key has none.
    pub async fn sign_out(&self) -> Result<(), ServiceError> {
        if let AuthMethod::Session(id) = self.auth_method() {
            self.service
                .store
                .end_session(id, &self.audit_context())
                .await?;
        }
        Ok(())
    }
}
