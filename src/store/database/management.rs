//! What management asks, once for both engines.

use async_trait::async_trait;

use super::{Database, write};
use crate::model::audit::{AuditContext, AuditEvent, Entry, Head};
use crate::model::change::Sequence;
use crate::model::clock::Timestamp;
use crate::model::id::{
    InstanceId, InvitationId, KeyId, MembershipId, OrganizationId, SessionId, UserId,
};
use crate::model::key::{Key, KeyHash};
use crate::model::member::Role;
use crate::model::member::{EmailAddress, Invitation, Member, MemberKind, Name, Organization};
use crate::model::usage::KeyUse;
use crate::store::engine::Engine;
use crate::store::{
    AccessFilter, AuditPage, Created, Descendants, EndedAccess, Idempotency, KeyFilter, KeyPage,
    KeyTraffic, ListedKey, ListedMember, ListedSession, Management, MarkProgress, NewSession,
    Overlap, PageRequest, Reach, Revoked, RevokedEverything, RevokedFamily, RoleChange, Session,
    SharedSecret, StoreError, access_ends, accounts, audit, invitations, keys, lineage, log, marks,
    members, rotations, secrets, sessions, usage,
};

/// Runs a rule of somebody's act: first of all they must still be who may.
macro_rules! context {
    ($engine:expr, $context:expr, $rule:path $(, $argument:expr)*) => {{
        let mut transaction = $engine.begin().await?;
        audit::check_actor(&mut transaction, $context).await?;
        let written = $rule(&mut transaction $(, $argument)*, $context).await?;
        $engine.commit(transaction).await?;
        Ok(written)
    }};
}

#[async_trait]
impl<E: Engine> Management for Database<E> {
    async fn create_organization(
        &self,
        new: &Organization,
        context: &AuditContext,
    ) -> Result<(), StoreError> {
        context!(self.0, context, members::create_organization, new)
    }

    async fn organizations(&self) -> Result<Vec<Organization>, StoreError> {
        members::organizations(&mut self.0.reader().await?).await
    }

    async fn organization(&self, id: OrganizationId) -> Result<Option<Organization>, StoreError> {
        members::organization(&mut self.0.reader().await?, id).await
    }

    async fn add_member(
        &self,
        member: &Member,
        context: &AuditContext,
    ) -> Result<Member, StoreError> {
        context!(self.0, context, members::add, member)
    }

    async fn add_service_account(
        &self,
        account: &Member,
        idempotency: Option<&Idempotency>,
        context: &AuditContext,
    ) -> Result<Created, StoreError> {
        context!(self.0, context, accounts::add, account, idempotency)
    }

    async fn members(&self, of: Option<OrganizationId>) -> Result<Vec<Member>, StoreError> {
        members::list(&mut self.0.reader().await?, of).await
    }

    async fn members_by_email(&self, email: &EmailAddress) -> Result<Vec<Member>, StoreError> {
        members::by_email(&mut self.0.reader().await?, email).await
    }

    async fn member(&self, id: MembershipId) -> Result<Option<Member>, StoreError> {
        members::present(&mut self.0.reader().await?, id).await
    }

    async fn members_page(
        &self,
        of: OrganizationId,
        kind: MemberKind,
        page: PageRequest<MembershipId>,
    ) -> Result<Vec<ListedMember>, StoreError> {
        members::page(&mut self.0.reader().await?, of, kind, page).await
    }

    async fn change_role(
        &self,
        change: RoleChange,
        context: &AuditContext,
    ) -> Result<Sequence, StoreError> {
        context!(self.0, context, members::change_role, change)
    }

    async fn remove_member(
        &self,
        membership: MembershipId,
        seen: Option<Role>,
        context: &AuditContext,
    ) -> Result<Revoked, StoreError> {
        context!(self.0, context, members::remove, membership, seen)
    }

    async fn create_key(
        &self,
        key: &Key,
        idempotency: Option<&Idempotency>,
        context: &AuditContext,
    ) -> Result<Created, StoreError> {
        context!(self.0, context, keys::create, key, idempotency)
    }

    async fn key(&self, id: KeyId) -> Result<Option<ListedKey>, StoreError> {
        keys::get(&mut self.0.reader().await?, id).await
    }

    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<Key>, StoreError> {
        let found = log::look_up(&mut self.0.reader().await?, hash).await?;
        Ok(found.key)
    }

    async fn keys(
        &self,
        filter: KeyFilter,
        page: PageRequest<KeyId>,
    ) -> Result<Vec<Key>, StoreError> {
        keys::list(&mut self.0.reader().await?, filter, page).await
    }

    async fn keys_page(&self, page: KeyPage) -> Result<Vec<ListedKey>, StoreError> {
        keys::page(&mut self.0.reader().await?, page).await
    }

    async fn rename_key(
        &self,
        id: KeyId,
        from: &Name,
        to: &Name,
        context: &AuditContext,
    ) -> Result<(), StoreError> {
        context!(self.0, context, keys::rename, id, from, to)
    }

    async fn rotate_key(
        &self,
        old: KeyId,
        successor: &Key,
        overlap: Overlap,
        context: &AuditContext,
    ) -> Result<Sequence, StoreError> {
        context!(self.0, context, rotations::rotate, old, successor, overlap)
    }

    async fn end_idle_keys(
        &self,
        usage_complete_since: Timestamp,
        context: &AuditContext,
    ) -> Result<Vec<KeyId>, StoreError> {
        let mut reader = self.0.reader().await?;
        let is_any = rotations::is_any_idle(&mut reader, usage_complete_since, context.at).await?;
        drop(reader);
        if !is_any {
            return Ok(Vec::new());
        }
        context!(self.0, context, rotations::end_idle, usage_complete_since)
    }

    async fn revoke_key(&self, id: KeyId, context: &AuditContext) -> Result<Revoked, StoreError> {
        context!(self.0, context, keys::revoke, id)
    }

    async fn descendants(&self, id: KeyId, now: Timestamp) -> Result<Descendants, StoreError> {
        lineage::descendants(&mut self.0.reader().await?, id, now).await
    }

    async fn revoke_family(
        &self,
        id: KeyId,
        reach: Reach,
        context: &AuditContext,
    ) -> Result<RevokedFamily, StoreError> {
        context!(self.0, context, lineage::revoke, id, reach)
    }

    async fn revoke_everything(
        &self,
        of: Option<OrganizationId>,
        access: Option<&AccessFilter>,
        context: &AuditContext,
    ) -> Result<RevokedEverything, StoreError> {
        context!(
            self.0,
            context,
            access_ends::revoke_everything,
            of,
            access,
            E::WITHOUT_MARKS
        )
    }

    async fn write_marked_rows(&self, below: Option<&str>) -> Result<MarkProgress, StoreError> {
        if !marks::is_any(&mut self.0.reader().await?).await? {
            return Ok(MarkProgress::Nothing);
        }
        write!(self.0, marks::write_rows, below)
    }

    async fn record_usage(&self, instance: InstanceId, uses: &[KeyUse]) -> Result<(), StoreError> {
        let statements = usage::report_statements(&E::USAGE, instance, uses);
        self.0.write_apart(statements).await
    }

    async fn forget_usage(&self, instance: InstanceId, now: Timestamp) -> Result<(), StoreError> {
        self.0
            .write_apart(usage::cleanup_statements(instance, now))
            .await
    }

    async fn traffic(&self, id: KeyId, now: Timestamp) -> Result<KeyTraffic, StoreError> {
        usage::of_key(&mut self.0.reader().await?, id, now).await
    }

    async fn invite(
        &self,
        invitation: &Invitation,
        token: &KeyHash,
        context: &AuditContext,
    ) -> Result<(), StoreError> {
        context!(self.0, context, invitations::invite, invitation, token)
    }

    async fn invitations(&self, of: OrganizationId) -> Result<Vec<Invitation>, StoreError> {
        invitations::list(&mut self.0.reader().await?, of).await
    }

    async fn withdraw_invitation(
        &self,
        of: OrganizationId,
        id: InvitationId,
        context: &AuditContext,
    ) -> Result<(), StoreError> {
        context!(self.0, context, invitations::withdraw, of, id)
    }

    async fn invitation(&self, token: &KeyHash) -> Result<Option<Invitation>, StoreError> {
        invitations::by_token(&mut self.0.reader().await?, token).await
    }

    async fn invitations_of(
        &self,
        email: &EmailAddress,
    ) -> Result<Vec<(Invitation, KeyHash)>, StoreError> {
        invitations::of_email(&mut self.0.reader().await?, email).await
    }

    async fn accept_invitation(
        &self,
        token: &KeyHash,
        ids: (MembershipId, UserId),
        session: &NewSession,
        context: &AuditContext,
    ) -> Result<Option<Member>, StoreError> {
        // Anybody who guesses takes no lock of the writers'; anybody who does not is asked again where they are alone.
        let found = self.invitation(token).await?;
        if found.is_none_or(|open| open.expires_at <= context.at) {
            return Ok(None);
        }
        context!(self.0, context, invitations::accept, token, ids, session)
    }

    async fn create_sign_in_link(
        &self,
        token: &KeyHash,
        member: &Member,
        expires_at: Timestamp,
        context: &AuditContext,
    ) -> Result<(), StoreError> {
        context!(
            self.0,
            context,
            sessions::create_link,
            token,
            member,
            expires_at
        )
    }

    async fn knows_sign_in_link(&self, token: &KeyHash) -> Result<bool, StoreError> {
        sessions::knows_link(&mut self.0.reader().await?, token).await
    }

    async fn sign_in(
        &self,
        token: &KeyHash,
        session: &NewSession,
        context: &AuditContext,
    ) -> Result<Option<Member>, StoreError> {
        if !self.knows_sign_in_link(token).await? {
            return Ok(None);
        }
        context!(self.0, context, sessions::sign_in, token, session)
    }

    async fn begin_session(
        &self,
        member: &Member,
        session: &NewSession,
        context: &AuditContext,
    ) -> Result<Member, StoreError> {
        context!(self.0, context, sessions::begin, member, session)
    }

    async fn session(&self, token: &KeyHash) -> Result<Option<Session>, StoreError> {
        sessions::find(&mut self.0.reader().await?, token).await
    }

    async fn touch_session(&self, id: SessionId, now: Timestamp) -> Result<(), StoreError> {
        write!(self.0, sessions::touch, id, now)
    }

    async fn end_session(&self, id: SessionId, context: &AuditContext) -> Result<(), StoreError> {
        context!(self.0, context, sessions::end, id)
    }

    async fn sessions(&self, filter: &AccessFilter) -> Result<Vec<ListedSession>, StoreError> {
        access_ends::list(&mut self.0.reader().await?, filter).await
    }

    async fn end_sessions(
        &self,
        filter: &AccessFilter,
        context: &AuditContext,
    ) -> Result<EndedAccess, StoreError> {
        context!(self.0, context, access_ends::end, filter)
    }

    async fn end_any_session(
        &self,
        id: SessionId,
        context: &AuditContext,
    ) -> Result<bool, StoreError> {
        context!(self.0, context, access_ends::end_one, id)
    }

    async fn record(
        &self,
        audit_event: &AuditEvent,
        context: &AuditContext,
    ) -> Result<(), StoreError> {
        write!(self.0, audit::record, audit_event, context)
    }

    async fn audit_page(&self, page: AuditPage) -> Result<Vec<Entry>, StoreError> {
        audit::page(&mut self.0.reader().await?, page).await
    }

    async fn newest_audit(
        &self,
        of: OrganizationId,
        page: PageRequest<i64>,
    ) -> Result<Vec<Entry>, StoreError> {
        audit::newest(&mut self.0.reader().await?, of, page).await
    }

    async fn audit_head(&self) -> Result<Head, StoreError> {
        audit::head(&mut self.0.reader().await?).await
    }

    async fn shared_secret(
        &self,
        name: &'static str,
        fresh: &SharedSecret,
    ) -> Result<SharedSecret, StoreError> {
        // Most often it is there: a start takes no lock for it.
        if let Some(known) = secrets::find(&mut self.0.reader().await?, name).await? {
            return Ok(known);
        }
        write!(self.0, secrets::find_or_make, name, fresh)
    }
}
