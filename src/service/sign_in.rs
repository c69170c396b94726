//! The way in: one-time links, invitations, sessions; and keys that manage.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::member_context::MemberContext;
use super::{Service, ServiceError};
use crate::model::audit::{Actor, AuditContext, AuthMethod};
use crate::model::id::{InstanceId, MembershipId, SessionId, UserId};
use crate::model::key::{Key, KeyHash, KeyState, PresentedKey};
use crate::model::member::{EmailAddress, Invitation, Member, MemberKind, Proof};
use crate::model::scope::Scope;
use crate::model::token::Token;
use crate::model::usage::KeyUse;
use crate::store::{NewSession, Session};

/// How long a link from the command line works: the operator who created it uses it at once.
pub const SIGN_IN_LINK_LIFETIME: Duration = Duration::from_mins(15);
/// A session that nobody has used for so long is over.
pub const SESSION_IDLE_MAX: Duration = Duration::from_hours(8);
/// However much it is used, a session is over after so long.
pub const SESSION_LIFETIME: Duration = Duration::from_hours(7 * 24);
/// How often at most the store records that a session is in use.
const SESSION_SEEN_EVERY: Duration = Duration::from_mins(1);

/// How often it is written down that a key manages.
const USE_NOTED_EVERY: Duration = Duration::from_mins(1);

/// Somebody who was just let in.
#[derive(Debug)]
pub struct SignedIn {
    /// Who.
    pub member: Member,
    /// What their browser is to hold.
    pub token: Token,
}

impl Service {
    /// Makes a link for a member to sign in with, once.
    pub async fn create_sign_in_link(
        &self,
        email: &EmailAddress,
        organization: Option<&str>,
    ) -> Result<(Member, Token), ServiceError> {
        let member = self.find_member(email, organization).await?;
        if member.kind == MemberKind::ServiceAccount {
            return Err(ServiceError::ServiceAccountSignsIn);
        }
        let (audit_context, token) = (self.audit_context(), Token::generate(&*self.entropy));
        let expires_at = audit_context.at.plus(SIGN_IN_LINK_LIFETIME);
        let hash = token.hash();
        self.store
            .create_sign_in_link(&hash, &member, expires_at, &audit_context)
            .await?;
        Ok((member, token))
    }

    /// Uses a link.
    ///
    /// # Errors
    /// [`ServiceError::LinkUsed`] when it opens nothing, for whatever reason: who guesses learns no more.
    pub async fn sign_in(
        &self,
        link: &Token,
        address: Option<IpAddr>,
    ) -> Result<SignedIn, ServiceError> {
        if !self.store.knows_sign_in_link(&link.hash()).await? {
            return Err(ServiceError::LinkUsed);
        }
        let (audit_context, token, session) = self.arriving(Proof::Address, address);
        let member = self
            .store
            .sign_in(&link.hash(), &session, &audit_context)
            .await?;
        let member = member.ok_or(ServiceError::LinkUsed)?;
        Ok(SignedIn { member, token })
    }

    /// The invitation of a link that still works.
    pub async fn invitation(&self, link: &Token) -> Result<Invitation, ServiceError> {
        let found = self.store.invitation(&link.hash()).await?;
        found
            .filter(|open| open.is_open(self.clock.now()))
            .ok_or(ServiceError::LinkUsed)
    }

    /// Makes the holder of the link a member, and signs them in. The link is shown to the inviter too, so it
    /// proves nothing about the address: this is a new user, of this organization alone.
    ///
    /// # Errors
    /// As [`Service::sign_in`]; and that of the store when they are a member already.
    pub async fn accept_invitation(
        &self,
        link: &Token,
        address: Option<IpAddr>,
    ) -> Result<SignedIn, ServiceError> {
        self.invitation(link).await?;
        let arriving = self.arriving(Proof::Membership, address);
        let accepted = self.accept(&link.hash(), arriving).await?;
        accepted.ok_or(ServiceError::LinkUsed)
    }

    /// `None`: the invitation opens nothing any more.
    pub(super) async fn accept(
        &self,
        invitation: &KeyHash,
        (audit_context, token, session): (AuditContext, Token, NewSession),
    ) -> Result<Option<SignedIn>, ServiceError> {
        let ids = (
            MembershipId::generate(audit_context.at, &*self.entropy),
            session.user_id,
        );
        let accepting = self
            .store
            .accept_invitation(invitation, ids, &session, &audit_context);
        let member = accepting.await?;
        Ok(member.map(|member| SignedIn { member, token }))
    }

    /// Signs in who an identity provider says they are: a member, or somebody who is invited, who becomes one.
    /// An invitation is another's wish: one is taken up where there is nowhere else to go, the newest, and the
    /// others wait until the invited person uses their links, which then join the same user. `proof`: of the address,
    /// as the provider said it or as it is assumed.
    ///
    /// # Errors
    /// [`ServiceError::NotInvited`] for everybody else.
    pub async fn sign_in_by_address(
        &self,
        email: &EmailAddress,
        proof: Proof,
        address: Option<IpAddr>,
    ) -> Result<SignedIn, ServiceError> {
        let (audit_context, token, session) = self.arriving(proof, address);
        let mut stays = self.store.members_by_email(email).await?;
        stays.retain(|stay| stay.kind == MemberKind::Person);
        // Of several the oldest that began with a proof: where they land, no link decides that another opened.
        if let Some(member) = stays.into_iter().next() {
            let member = self
                .store
                .begin_session(&member, &session, &audit_context)
                .await?;
            return Ok(SignedIn { member, token });
        }
        let mut open = self.store.invitations_of(email).await?;
        open.retain(|(invitation, _hash)| invitation.is_open(audit_context.at));
        let Some((_invitation, hash)) = open.into_iter().next() else {
            return Err(ServiceError::NotInvited(email.clone()));
        };
        let accepted = self.accept(&hash, (audit_context, token, session)).await?;
        accepted.ok_or_else(|| ServiceError::NotInvited(email.clone()))
    }

    pub(super) fn arriving(
        &self,
        proof: Proof,
        address: Option<IpAddr>,
    ) -> (AuditContext, Token, NewSession) {
        let at = self.clock.now();
        let audit_context = AuditContext {
            at,
            actor: Actor::System,
            auth_method: AuthMethod::SignIn,
            address,
        };
        let token = Token::generate(&*self.entropy);
        let session = NewSession {
            id: SessionId::generate(at, &*self.entropy),
            token_hash: token.hash(),
            proof,
            user_id: UserId::generate(at, &*self.entropy),
            replaces: None,
            leaves: None,
            forget_before: at.minus(SESSION_LIFETIME),
        };
        (audit_context, token, session)
    }

    /// The member whose browser holds this token. `None`: nobody, or not any more.
    pub async fn by_session(
        &self,
        token: &Token,
        address: Option<IpAddr>,
    ) -> Result<Option<MemberContext>, ServiceError> {
        let now = self.clock.now();
        let Some(session) = self.store.session(&token.hash()).await? else {
            return Ok(None);
        };
        let Session {
            id,
            member,
            proof,
            created_at,
            seen_at,
        } = session;
        if created_at.plus(SESSION_LIFETIME) <= now || seen_at.plus(SESSION_IDLE_MAX) <= now {
            return Ok(None);
        }
        if seen_at.plus(SESSION_SEEN_EVERY) <= now {
            self.store.touch_session(id, now).await?;
        }
        let by = (AuthMethod::Session(id), proof);
        Ok(Some(MemberContext::new(self.clone(), member, by, address)))
    }

    /// The member whose live key this is, if it may manage. The store is asked each time: nothing is
    /// remembered that a revocation would have to reach.
    ///
    /// # Errors
    /// [`ServiceError::KeyBeforeProof`] where its owner's address was proven after it was made.
    pub async fn by_key(
        &self,
        key: PresentedKey<'_>,
        address: Option<IpAddr>,
    ) -> Result<Option<MemberContext>, ServiceError> {
        let found = self.store.key_by_hash(&key.hash()).await?;
        let live = found.filter(|key| key.state(self.clock.now()) == KeyState::Live);
        let Some(key) = live else {
            return Ok(None);
        };
        if !key.scopes.contains(Scope::Manage) {
            return Err(ServiceError::KeyManagesNothing);
        }
        let member = self.store.member(key.membership_id).await?;
        let is_proven = member
            .as_ref()
            .is_some_and(|member| member.kind == MemberKind::Person && member.email_verified);
        // The user that upstreams see: the creator of a key before the address was proven may have been another person.
        let member = member.map(|member| Member {
            user_id: key.user_id,
            email_verified: key.email_verified,
            ..member
        });
        self.note_use(&key, address).await;
        // It may be another's who came first: it is not to grow with the person, nor to act on what is theirs.
        if is_proven && !key.email_verified {
            return Err(ServiceError::KeyBeforeProof);
        }
        let proof = if key.email_verified {
            Proof::Address
        } else {
            Proof::Membership
        };
        let by = (AuthMethod::Key(key.id), proof);
        Ok(member.map(|member| MemberContext::new(self.clone(), member, by, address)))
    }

    /// Gateways note what passes them; this does not. Written at most once a minute for each key.
    async fn note_use(&self, key: &Key, address: Option<IpAddr>) {
        let now = self.clock.now();
        let last = match self.store.key(key.id).await {
            Ok(listed) => listed.and_then(|listed| listed.last_used_at),
            Err(_told_by_the_next_call) => return,
        };
        if last.is_some_and(|last| last.plus(USE_NOTED_EVERY) > now) {
            return;
        }
        let one = KeyUse {
            key: key.id,
            requests: 1,
            at: now,
            address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            client: "management API".to_owned(),
            open: 0,
        };
        let instance = InstanceId::generate(now, &*self.entropy);
        if let Err(error) = self.store.record_usage(instance, &[one]).await {
            tracing::debug!(%error, "the use of a key was not noted");
        }
    }
}
