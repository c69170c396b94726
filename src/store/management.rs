//! What management asks of the store: people, keys, sessions, the audit log. A gateway's data plane needs
//! none of it.
//!
//! Every writing method takes the [`AuditContext`] it is part of, and writes its row of the audit log in the same
//! transaction. An act of a member who no longer has the role by which it was allowed is
//! [`StoreError::Forbidden`]: writers queue, so that this is true when it commits.

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::{
    AccessFilter, AuditPage, Created, Descendants, EndedAccess, Idempotency, KeyFilter, KeyPage,
    KeyTraffic, ListedKey, ListedMember, ListedSession, MarkProgress, NewSession, Overlap,
    PageRequest, Reach, Revoked, RevokedEverything, RevokedFamily, RoleChange, Session, Store,
    StoreError,
};
use crate::model::audit::{AuditContext, AuditEvent, Entry, Head};
use crate::model::change::Sequence;
use crate::model::clock::Timestamp;
use crate::model::id::{
    InstanceId, InvitationId, KeyId, MembershipId, OrganizationId, SessionId, UserId,
};
use crate::model::key::{Key, KeyHash};
use crate::model::member::{
    EmailAddress, Invitation, Member, MemberKind, Name, Organization, Role,
};
use crate::model::usage::KeyUse;

/// See the module documentation.
#[async_trait]
pub trait Management: Store {
    // ---- organizations and members ----------------------------------------------------------

    /// Creates an organization. [`StoreError::Exists`] when the name is taken.
    async fn create_organization(
        &self,
        new: &Organization,
        audit_context: &AuditContext,
    ) -> Result<(), StoreError>;

    /// All organizations, oldest first.
    async fn organizations(&self) -> Result<Vec<Organization>, StoreError>;

    /// One organization.
    async fn organization(&self, id: OrganizationId) -> Result<Option<Organization>, StoreError>;

    /// Adds a member whose address the caller vouches for: its verified user is created, or found (then that user's id
    /// is told instead of `member.user_id`; the name is this membership's own). [`StoreError::Exists`] when the address
    /// is a member already, verified or not.
    async fn add_member(
        &self,
        member: &Member,
        audit_context: &AuditContext,
    ) -> Result<Member, StoreError>;

    /// Adds a service account, whose address must be new.
    async fn add_service_account(
        &self,
        account: &Member,
        idempotency: Option<&Idempotency>,
        audit_context: &AuditContext,
    ) -> Result<Created, StoreError>;

    /// The present members, oldest first; of one organization or of all.
    async fn members(&self, of: Option<OrganizationId>) -> Result<Vec<Member>, StoreError>;

    /// The present stays of this address, at most one in each organization: first those that began with the
    /// address proven, then those that began with an invitation link, each oldest first. What the latter may
    /// reach is for the caller to judge.
    async fn members_by_email(&self, email: &EmailAddress) -> Result<Vec<Member>, StoreError>;

    /// A present member.
    async fn member(&self, id: MembershipId) -> Result<Option<Member>, StoreError>;

    /// The present members of one kind, newest first, with how many keys each has.
    async fn members_page(
        &self,
        of: OrganizationId,
        kind: MemberKind,
        page: PageRequest<MembershipId>,
    ) -> Result<Vec<ListedMember>, StoreError>;

    /// Gives another role. The last owner keeps theirs: [`StoreError::Forbidden`].
    async fn change_role(
        &self,
        change: RoleChange,
        audit_context: &AuditContext,
    ) -> Result<Sequence, StoreError>;

    /// Ends a membership and revokes its keys, in one transaction and with one log entry. The last owner of
    /// an organization stays: [`StoreError::Forbidden`]. `seen`: the role that the caller saw;
    /// [`StoreError::Conflict`] when it is another by now.
    async fn remove_member(
        &self,
        membership: MembershipId,
        seen: Option<Role>,
        audit_context: &AuditContext,
    ) -> Result<Revoked, StoreError>;

    // ---- keys -------------------------------------------------------------------------------

    /// Writes a new key. [`StoreError::Exists`] when the hash is known,
    /// [`StoreError::NotFound`] when the membership is over, [`StoreError::BeyondKey`] when it is made with a
    /// key and would be more than that. Every
    /// instance that has applied the log up to the place returned accepts the key.
    async fn create_key(
        &self,
        key: &Key,
        idempotency: Option<&Idempotency>,
        audit_context: &AuditContext,
    ) -> Result<Created, StoreError>;

    /// One key.
    async fn key(&self, id: KeyId) -> Result<Option<ListedKey>, StoreError>;

    /// The key with this hash, live or not, for who calls management with it: callers of the gateway do not
    /// keep it waiting.
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<Key>, StoreError>;

    /// Writes some of the rows that the oldest mark of revoking everything covers, those below the id `below`: a short
    /// transaction. Their keys are refused since the mark was made; this is for who reads rows.
    async fn write_marked_rows(&self, below: Option<&str>) -> Result<MarkProgress, StoreError>;

    /// Keys of any organization, newest first, page by page.
    async fn keys(
        &self,
        filter: KeyFilter,
        page: PageRequest<KeyId>,
    ) -> Result<Vec<Key>, StoreError>;

    /// Keys, newest first, page by page.
    async fn keys_page(&self, page: KeyPage) -> Result<Vec<ListedKey>, StoreError>;

    /// Gives a key another name. [`StoreError::Conflict`] when it is not called `from` any more.
    async fn rename_key(
        &self,
        id: KeyId,
        from: &Name,
        to: &Name,
        audit_context: &AuditContext,
    ) -> Result<(), StoreError>;

    /// Writes `successor` to take the place of `old`, which goes on for the overlap.
    /// [`StoreError::Conflict`] when `old` is revoked, or being replaced already;
    /// [`StoreError::BeyondKey`] as of [`Self::create_key`].
    async fn rotate_key(
        &self,
        old: KeyId,
        successor: &Key,
        overlap: Overlap,
        audit_context: &AuditContext,
    ) -> Result<Sequence, StoreError>;

    /// Revokes keys that are being replaced and that nobody has used for as long as their rotation says; which.
    /// `usage_complete_since`: since when uses were reported without a gap; a key without reports is not idle.
    async fn end_idle_keys(
        &self,
        usage_complete_since: Timestamp,
        audit_context: &AuditContext,
    ) -> Result<Vec<KeyId>, StoreError>;

    /// Revokes a key, with its log entry in the same transaction. Of a key that is revoked already it
    /// returns the present head, so that the caller can wait again. [`StoreError::NotFound`] for an
    /// unknown id; nothing is changed then.
    async fn revoke_key(
        &self,
        id: KeyId,
        audit_context: &AuditContext,
    ) -> Result<Revoked, StoreError>;

    /// How many live keys come from a key. [`StoreError::NotFound`] for an unknown id.
    async fn descendants(&self, id: KeyId, now: Timestamp) -> Result<Descendants, StoreError>;

    /// Revokes a key and every key that comes from it, in one transaction, with a log entry for each.
    /// [`StoreError::NotFound`] for an unknown id, [`StoreError::OthersKeys`] where the reach is not far enough;
    /// nothing is changed then.
    async fn revoke_family(
        &self,
        id: KeyId,
        reach: Reach,
        audit_context: &AuditContext,
    ) -> Result<RevokedFamily, StoreError>;

    /// Revokes every live key, of one organization or of all, with one log entry in the same
    /// transaction, also where there was none: so the wait can be repeated. With `access`, the sessions and
    /// sign-in links that it means end too, and open invitations of the organization, or of all.
    async fn revoke_everything(
        &self,
        of: Option<OrganizationId>,
        access: Option<&AccessFilter>,
        audit_context: &AuditContext,
    ) -> Result<RevokedEverything, StoreError>;

    /// What a gateway saw of keys, a few hundred at a time.
    async fn record_usage(&self, instance: InstanceId, uses: &[KeyUse]) -> Result<(), StoreError>;

    /// Forgets what is too old to be shown.
    async fn forget_usage(&self, instance: InstanceId, now: Timestamp) -> Result<(), StoreError>;

    /// What a key is used for.
    async fn traffic(&self, id: KeyId, now: Timestamp) -> Result<KeyTraffic, StoreError>;

    // ---- the way in -------------------------------------------------------------------------

    /// Invites somebody. An open invitation of the same address is replaced.
    /// [`StoreError::Exists`] when they are a member already.
    async fn invite(
        &self,
        invitation: &Invitation,
        token: &KeyHash,
        audit_context: &AuditContext,
    ) -> Result<(), StoreError>;

    /// Invitations that are open, newest first; expired ones too, until they are replaced.
    async fn invitations(&self, of: OrganizationId) -> Result<Vec<Invitation>, StoreError>;

    /// Takes an open invitation back. [`StoreError::NotFound`] when it is not open.
    async fn withdraw_invitation(
        &self,
        of: OrganizationId,
        id: InvitationId,
        audit_context: &AuditContext,
    ) -> Result<(), StoreError>;

    /// The open invitation with this token, expired or not.
    async fn invitation(&self, token: &KeyHash) -> Result<Option<Invitation>, StoreError>;

    /// The open invitations of an address, expired or not, newest first; each with its token's hash.
    async fn invitations_of(
        &self,
        email: &EmailAddress,
    ) -> Result<Vec<(Invitation, KeyHash)>, StoreError>;

    /// Makes a member of who was invited, and signs them in. Without a proof of the address it is a new user of
    /// this organization alone, of whom nothing else is known. None when the token opens nothing at `act.at`:
    /// unknown, used, withdrawn or expired.
    async fn accept_invitation(
        &self,
        token: &KeyHash,
        ids: (MembershipId, UserId),
        session: &NewSession,
        audit_context: &AuditContext,
    ) -> Result<Option<Member>, StoreError>;

    /// Makes a link with which a member signs in once, until `expires_at`.
    async fn create_sign_in_link(
        &self,
        token: &KeyHash,
        member: &Member,
        expires_at: Timestamp,
        audit_context: &AuditContext,
    ) -> Result<(), StoreError>;

    /// Whether there is such a link, used or not. It takes no lock: guesses delay nobody.
    async fn knows_sign_in_link(&self, token: &KeyHash) -> Result<bool, StoreError>;

    /// Uses a link up. None when it opens nothing at `act.at`: unknown, used or expired, or its member
    /// is gone.
    async fn sign_in(
        &self,
        token: &KeyHash,
        session: &NewSession,
        audit_context: &AuditContext,
    ) -> Result<Option<Member>, StoreError>;

    /// Signs in a member whom somebody trusted has vouched for. With the address proven, this membership becomes one
    /// of the address's verified user, and sessions in it without that proof end, in the same transaction.
    /// [`StoreError::NotFound`] when they are gone; [`StoreError::AuthMethodEnded`] when the session to be replaced is,
    /// or when it began before the ways into the organization were last ended.
    async fn begin_session(
        &self,
        member: &Member,
        session: &NewSession,
        audit_context: &AuditContext,
    ) -> Result<Member, StoreError>;

    /// The session with this token, of a present member; whether it has lasted too long is for the
    /// caller to judge.
    async fn session(&self, token: &KeyHash) -> Result<Option<Session>, StoreError>;

    /// The session was seen.
    async fn touch_session(&self, id: SessionId, now: Timestamp) -> Result<(), StoreError>;

    /// Signs out.
    async fn end_session(
        &self,
        id: SessionId,
        audit_context: &AuditContext,
    ) -> Result<(), StoreError>;

    /// Open sessions, the one that was seen last first.
    async fn sessions(&self, filter: &AccessFilter) -> Result<Vec<ListedSession>, StoreError>;

    /// Ends sessions, and links that would begin one.
    async fn end_sessions(
        &self,
        filter: &AccessFilter,
        audit_context: &AuditContext,
    ) -> Result<EndedAccess, StoreError>;

    /// Ends somebody's session; false: it had ended before. [`StoreError::NotFound`] for an unknown id.
    async fn end_any_session(
        &self,
        id: SessionId,
        audit_context: &AuditContext,
    ) -> Result<bool, StoreError>;

    // ---- the audit log ----------------------------------------------------------------------

    /// Writes a row of something that changed nothing else.
    async fn record(
        &self,
        audit_event: &AuditEvent,
        audit_context: &AuditContext,
    ) -> Result<(), StoreError>;

    /// Rows, oldest first.
    async fn audit_page(&self, page: AuditPage) -> Result<Vec<Entry>, StoreError>;

    /// Rows of an organization before a place, newest first.
    async fn newest_audit(
        &self,
        of: OrganizationId,
        page: PageRequest<i64>,
    ) -> Result<Vec<Entry>, StoreError>;

    /// The newest row, as it is kept beside the rows.
    async fn audit_head(&self) -> Result<Head, StoreError>;

    // ---- what gateways share ----------------------------------------------------------------

    /// The secret of this name. If there is none, `fresh` is stored.
    async fn shared_secret(
        &self,
        name: &'static str,
        fresh: &SharedSecret,
    ) -> Result<SharedSecret, StoreError>;
}

/// What the gateways of one database know and nobody else: wiped when dropped, shown nowhere.
pub type SharedSecret = Zeroizing<[u8; 32]>;
