//! The way in: one-time links, invitations, sessions; and keys that manage.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::acting::Acting;
use super::{Service, ServiceError};
use crate::model::audit::{Act, Actor, Means};
use crate::model::id::{InstanceId, MembershipId, SessionId, UserId};
use crate::model::key::{Key, KeyHash, KeyState, PresentedKey};
use crate::model::member::{EmailAddress, Invitation, Member, MemberKind, Name, Proof};
use crate::model::scope::Scope;
use crate::model::token::Token;
use crate::model::usage::KeyUse;
use crate::store::{NewSession, Session};

/// How long a link from the command line works: it is used by whoever asked for it, at once.
pub const SIGN_IN_LINK_LIFETIME: Duration = Duration::from_mins(15);
/// A session that nobody has used for so long is over.
pub const SESSION_IDLE_MAX: Duration = Duration::from_hours(8);
/// However much it is used, a session is over after so long.
pub const SESSION_LIFETIME: Duration = Duration::from_hours(7 * 24);
/// The store is told that a session is alive at most so often.
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
        let (act, token) = (self.act(), Token::generate(&*self.entropy));
        let expires_at = act.at.plus(SIGN_IN_LINK_LIFETIME);
        let hash = token.hash();
        self.store
            .create_sign_in_link(&hash, &member, expires_at, &act)
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
        let (act, token, session) = self.arriving(Proof::Address, address);
        let member = self.store.sign_in(&link.hash(), &session, &act).await?;
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

    /// Makes a member of whoever has the link, and signs them in. The link is shown to the inviter too, so it
    /// proves nothing about the address: this is a new user, of this organisation alone.
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

    /// None: the invitation opens nothing any more.
    async fn accept(
        &self,
        invitation: &KeyHash,
        (act, token, session): (Act, Token, NewSession),
    ) -> Result<Option<SignedIn>, ServiceError> {
        let ids = (
            MembershipId::generate(act.at, &*self.entropy),
            session.user_id,
        );
        let accepting = self
            .store
            .accept_invitation(invitation, ids, &session, &act);
        let member = accepting.await?;
        Ok(member.map(|member| SignedIn { member, token }))
    }

    /// Signs in who an identity provider says they are: a member, or somebody who is invited, who becomes one.
    /// An invitation is another's wish: one is taken up where there is nowhere else to go, the newest, and the
    /// others wait for whoever is invited to use their links, which then join the same user. `proof`: of the address, as
    /// the provider said it or as it is assumed.
    ///
    /// # Errors
    /// [`ServiceError::NotInvited`] for everybody else.
    pub async fn sign_in_by_address(
        &self,
        email: &EmailAddress,
        proof: Proof,
        address: Option<IpAddr>,
    ) -> Result<SignedIn, ServiceError> {
        let (act, token, session) = self.arriving(proof, address);
        let mut stays = self.store.members_by_email(email).await?;
        stays.retain(|stay| stay.kind == MemberKind::Person);
        // Of several the oldest that began with a proof: where they land, no link decides that another opened.
        if let Some(member) = stays.into_iter().next() {
            let member = self.store.begin_session(&member, &session, &act).await?;
            return Ok(SignedIn { member, token });
        }
        let mut open = self.store.invitations_of(email).await?;
        open.retain(|(invitation, _hash)| invitation.is_open(act.at));
        let Some((_invitation, hash)) = open.into_iter().next() else {
            return Err(ServiceError::NotInvited(email.clone()));
        };
        let accepted = self.accept(&hash, (act, token, session)).await?;
        accepted.ok_or_else(|| ServiceError::NotInvited(email.clone()))
    }

    fn arriving(&self, proof: Proof, address: Option<IpAddr>) -> (Act, Token, NewSession) {
        let at = self.clock.now();
        let act = Act {
            at,
            actor: Actor::System,
            means: Means::SignIn,
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
        (act, token, session)
    }

    /// The member whose browser holds this token; none: nobody, or not any more.
    pub async fn by_session(
        &self,
        token: &Token,
        address: Option<IpAddr>,
    ) -> Result<Option<Acting>, ServiceError> {
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
        let by = (Means::Session(id), proof);
        Ok(Some(Acting::new(self.clone(), member, by, address)))
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
    ) -> Result<Option<Acting>, ServiceError> {
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
        // Whom upstreams are told: who made a key before the address was proven may have been another.
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
        let by = (Means::Key(key.id), proof);
        Ok(member.map(|member| Acting::new(self.clone(), member, by, address)))
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

/// Where else somebody is a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The stay there.
    pub membership: MembershipId,
    /// What the organisation is called.
    pub organization: Name,
}

impl Acting {
    /// The present memberships of this address, in the store's order; none without a proof of the address, which whoever
    /// came by an invitation link does not have. Some may not have been entered yet by whoever proved it.
    async fn stays(&self) -> Result<Vec<Member>, ServiceError> {
        if !self.has_proven_address() {
            return Ok(Vec::new());
        }
        let (store, person) = (&self.service.store, self.member());
        let mut stays = store.members_by_email(&person.email).await?;
        stays.retain(|stay| stay.kind == MemberKind::Person);
        Ok(stays)
    }

    /// Every organisation with a member of this address, this one included; none where it is the only one, or where the address
    /// is not proven.
    pub async fn organizations(&self) -> Result<Vec<Elsewhere>, ServiceError> {
        let stays = self.stays().await?;
        if stays.len() < 2 {
            return Ok(Vec::new());
        }
        let all = self.service.store.organizations().await?;
        let named = stays.into_iter().filter_map(|stay| {
            let organization = all.iter().find(|one| one.id == stay.organization_id)?;
            Some(Elsewhere {
                membership: stay.membership_id,
                organization: organization.name.clone(),
            })
        });
        Ok(named.collect())
    }

    /// Goes on in another organisation of theirs: by a new session of the same proof and age, and this one ends. With
    /// that the membership there is this person's, if it was not.
    ///
    /// # Errors
    /// [`ServiceError::AddressNotProven`] whatever is asked for, so that nothing is learned;
    /// [`ServiceError::NoSuchMember`] of what is not theirs; that of the store when this session ended meanwhile, or when
    /// the ways into that organisation were ended after it began: then they sign in anew.
    pub async fn switch_to(
        &self,
        membership: MembershipId,
        address: Option<IpAddr>,
    ) -> Result<SignedIn, ServiceError> {
        let Means::Session(id) = self.means() else {
            return Err(ServiceError::NoSuchMember(membership));
        };
        if !self.has_proven_address() {
            return Err(ServiceError::AddressNotProven);
        }
        let mut stays = self.stays().await?.into_iter();
        let there = stays.find(|stay| stay.membership_id == membership);
        let there = there.ok_or(ServiceError::NoSuchMember(membership))?;
        let (act, token, session) = self.going_on(id, address);
        let store = &self.service.store;
        let member = store.begin_session(&there, &session, &act).await?;
        Ok(SignedIn { member, token })
    }

    /// Makes a member of who was invited, as [`Service::accept_invitation`], by somebody who is signed in. Where
    /// they have proven the address that is invited, it is this person who becomes a member. This session ends
    /// either way: the browser holds the new one in its place.
    ///
    /// # Errors
    /// As [`Service::accept_invitation`]; and that of the store when this session ended meanwhile.
    pub async fn accept_invitation(
        &self,
        link: &Token,
        address: Option<IpAddr>,
    ) -> Result<SignedIn, ServiceError> {
        let open = self.service.invitation(link).await?;
        let arriving = match self.means() {
            Means::Session(id)
                if self.has_proven_address() && open.email == self.member().email =>
            {
                self.going_on(id, address)
            }
            Means::Session(_)
            | Means::Key(_)
            | Means::CommandLine
            | Means::Gateway
            | Means::SignIn => self.leaving(address),
        };
        let accepted = self.service.accept(&link.hash(), arriving).await?;
        accepted.ok_or(ServiceError::LinkUsed)
    }

    /// Whoever comes by the link alone is another than whoever this browser's session is of.
    fn leaving(&self, address: Option<IpAddr>) -> (Act, Token, NewSession) {
        let (act, token, session) = self.service.arriving(Proof::Membership, address);
        let leaves = match self.means() {
            Means::Session(id) => Some(id),
            Means::Key(_) | Means::CommandLine | Means::Gateway | Means::SignIn => None,
        };
        (act, token, NewSession { leaves, ..session })
    }

    /// What this session becomes.
    fn going_on(&self, id: SessionId, address: Option<IpAddr>) -> (Act, Token, NewSession) {
        let (act, token, session) = self.service.arriving(self.proof(), address);
        let session = NewSession {
            replaces: Some(id),
            ..session
        };
        (act, token, session)
    }

    /// Ends the session by which they act. Of a key there is none.
    pub async fn sign_out(&self) -> Result<(), ServiceError> {
        if let Means::Session(id) = self.means() {
            self.service.store.end_session(id, &self.act()).await?;
        }
        Ok(())
    }
}
