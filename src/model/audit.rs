//! The audit log: who did what, when, from where; chained by hash, so that a row that was changed,
//! taken out or moved is found.
//!
//! Each row's hash is the SHA-256 of the hash before it and of the row's own fields, each with its
//! length in front. Rows are kept as text, as they were written: a row that somebody changed must be
//! reported, and not fail to be read.

use std::fmt;
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::clock::Timestamp;
use super::id::{KeyId, MembershipId, OrganizationId, SessionId};
use super::member::{EmailAddress, Member, Role};

/// Who does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// Somebody with access to the database or its host, on the command line.
    Operator,
    /// A gateway, by itself: the end of a rotation, say.
    System,
    /// A member of the organization, or one of its service accounts.
    Member {
        /// The stay.
        id: MembershipId,
        /// The address, as it was then.
        email: EmailAddress,
        /// The role by which it is allowed. Who has lost it meanwhile does nothing.
        role: Role,
    },
}

impl Actor {
    /// A member, as they are now.
    pub fn member(member: &Member) -> Self {
        Self::Member {
            id: member.membership_id,
            email: member.email.clone(),
            role: member.role,
        }
    }
}

/// By which means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// `genkan` as a command.
    CommandLine,
    /// A running gateway.
    Gateway,
    /// The console, or the API with a browser's session.
    Session(SessionId),
    /// The API, with a key.
    Key(KeyId),
    /// The way in: a link, or an identity provider.
    SignIn,
}

impl fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::Gateway => f.write_str("gateway"),
            Self::Session(id) => id.fmt(f),
            Self::Key(id) => id.fmt(f),
            Self::SignIn => f.write_str("sign-in"),
        }
    }
}

/// Somebody about to do something: what is the same for every row that comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditContext {
    /// When, on the wall clock of the process that writes.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// By which means.
    pub auth_method: AuthMethod,
    /// From where, if over a network.
    pub address: Option<IpAddr>,
}

impl AuditContext {
    /// What the operator does on the command line.
    pub const fn of_operator(at: Timestamp) -> Self {
        Self {
            at,
            actor: Actor::Operator,
            auth_method: AuthMethod::CommandLine,
            address: None,
        }
    }
}

/// Declares the actions once: the variant, its word in the log.
macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)+) => {
        /// What was done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action {
            $($(#[$doc])* $name,)+
        }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word in the log.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

actions! {
    /// An organization was made.
    OrganizationCreated = "organization.created",
    /// A member was added on the command line, or came by an invitation.
    MemberAdded = "member.added",
    /// A role was given or taken.
    MemberRoleChanged = "member.role_changed",
    /// Anybody who has a member's address proved it: an unverified user was joined to the verified one.
    AddressProven = "member.address_proven",
    /// A stay ended, and its keys with it.
    MemberRemoved = "member.removed",
    /// Somebody was invited.
    MemberInvited = "member.invited",
    /// An invitation was taken back.
    InvitationWithdrawn = "invitation.withdrawn",
    /// A service account was made.
    ServiceAccountCreated = "service_account.created",
    /// A service account ended, and its keys with it.
    ServiceAccountRemoved = "service_account.removed",
    /// A key was made, and its text shown once to its creator.
    KeyCreated = "key.created",
    /// A key of another system was taken over by its hash.
    KeyImported = "key.imported",
    /// A key got another name.
    KeyRenamed = "key.renamed",
    /// A key got a successor, whose text was shown once; the old one ends later.
    KeyRotated = "key.rotated",
    /// A key was ended.
    KeyRevoked = "key.revoked",
    /// Every key was ended, of one organization or of all.
    EverythingRevoked = "everything.revoked",
    /// Every gateway has acknowledged a revocation: the receipt.
    RevocationConfirmed = "revocation.settled",
    /// A link to sign in with was made.
    SignInLinkCreated = "sign_in_link.created",
    /// Somebody signed in.
    SignedIn = "session.began",
    /// Somebody signed out, went on in another session, or was signed out: by the operator, or by a proof of
    /// the address.
    SignedOut = "session.ended",
    /// The operator ended sessions, and links that would have begun one.
    SessionsEnded = "sessions.ended",
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is to be written of an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// In which organization. `None`: in none, or in all.
    pub organization: Option<OrganizationId>,
    /// What was done.
    pub action: Action,
    /// To what: an id or an address.
    pub subject: String,
    /// The rest, never a secret: a JSON object.
    pub details: serde_json::Value,
}

/// The hash of a row, which holds all rows before it.
pub type ChainHash = [u8; 32];

/// Before the first row.
pub const CHAIN_START: ChainHash = [0; 32];

/// One row, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place: gapless, in commit order, from 1.
    pub sequence: i64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The organization's id.
    pub organization: Option<String>,
    /// `operator`, `system`, or a membership's id.
    pub actor: String,
    /// A member's address.
    pub actor_email: Option<String>,
    /// A session's or a key's id, or what else it was.
    pub auth_method: String,
    /// An IP address.
    pub address: Option<String>,
    /// What was done.
    pub action: String,
    /// To what.
    pub subject: String,
    /// A JSON object.
    pub details: String,
    /// See [`ChainHash`].
    pub hash: Vec<u8>,
}

impl Entry {
    /// The row that follows `previous` at `sequence`.
    pub fn following(
        previous: &[u8],
        sequence: i64,
        audit_context: &AuditContext,
        audit_event: &AuditEvent,
    ) -> Self {
        let (actor, actor_email) = match &audit_context.actor {
            Actor::Operator => ("operator".to_owned(), None),
            Actor::System => ("system".to_owned(), None),
            Actor::Member { id, email, .. } => (id.to_string(), Some(email.to_string())),
        };
        let mut entry = Self {
            sequence,
            at_ms: audit_context.at.as_millis(),
            organization: audit_event.organization.map(|id| id.to_string()),
            actor,
            actor_email,
            auth_method: audit_context.auth_method.to_string(),
            address: audit_context.address.map(|address| address.to_string()),
            action: audit_event.action.to_string(),
            subject: audit_event.subject.clone(),
            details: audit_event.details.to_string(),
            hash: Vec::new(),
        };
        entry.hash = entry.chained_to(previous).to_vec();
        entry
    }

    /// What its hash should be, after `previous`.
    pub fn chained_to(&self, previous: &[u8]) -> ChainHash {
        let mut hasher = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        add(previous);
        add(&self.sequence.to_le_bytes());
        add(&self.at_ms.to_le_bytes());
        for text in [
            self.organization.as_deref(),
            Some(&self.actor),
            self.actor_email.as_deref(),
            Some(&self.auth_method),
            self.address.as_deref(),
            Some(&self.action),
            Some(&self.subject),
            Some(&self.details),
        ] {
            // Absent is not the same as empty.
            add(&[u8::from(text.is_some())]);
            add(text.unwrap_or_default().as_bytes());
        }
        hasher.finalize().into()
    }
}

/// The newest row, as it is kept beside the rows: without it a missing end would not be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its place; 0: there is no row yet.
    pub sequence: i64,
    /// Its hash.
    pub hash: Vec<u8>,
}

/// What is wrong with a chain, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// A place without a row.
    #[error("entry {0} is missing")]
    Missing(i64),
    /// The row is not what was written, or not where it was written.
    #[error("entry {0} was changed, or stands where another stood")]
    Changed(i64),
    /// A row that nobody wrote: before the first place, or after the head's.
    #[error("entry {0} was added past genkan")]
    Added(i64),
    /// The rows end elsewhere than the head says.
    #[error("the log ends at entry {found}, and should end at {expected}")]
    End {
        /// The last row's place.
        found: i64,
        /// The head's.
        expected: i64,
    },
}

/// Walks a chain from its start, page by page.
#[derive(Debug)]
pub struct Verifier {
    /// The last row that was read.
    position: i64,
    sequence: i64,
    hash: Vec<u8>,
    flaws: Vec<Flaw>,
}

/// More are not listed: what follows a wholesale change says nothing new.
pub const FLAWS_MAX: usize = 100;

impl Default for Verifier {
    fn default() -> Self {
        Self {
            position: i64::MIN,
            sequence: 0,
            hash: CHAIN_START.to_vec(),
            flaws: Vec::new(),
        }
    }
}

impl Verifier {
    /// The place after which the next page begins.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Takes the next row in the order of places. After a flaw it goes on from what is there, so that
    /// each is named once.
    pub fn take(&mut self, entry: &Entry) {
        self.position = entry.sequence;
        if entry.sequence < 1 {
            return self.report(Flaw::Added(entry.sequence));
        }
        let gap = self.sequence.saturating_add(1)..entry.sequence;
        let skips = !gap.is_empty();
        for missing in gap.take(FLAWS_MAX) {
            self.report(Flaw::Missing(missing));
        }
        // Across a gap the hash before is not known.
        if !skips && entry.hash != entry.chained_to(&self.hash) {
            self.report(Flaw::Changed(entry.sequence));
        }
        self.sequence = entry.sequence;
        self.hash.clone_from(&entry.hash);
    }

    /// After the last row: every flaw, and the head that was reached.
    pub fn end(mut self, head: &Head) -> (Vec<Flaw>, Head) {
        if self.sequence > head.sequence {
            self.report(Flaw::Added(self.sequence));
        } else if head.sequence != self.sequence {
            self.report(Flaw::End {
                found: self.sequence,
                expected: head.sequence,
            });
        } else if head.hash != self.hash && head.sequence != 0 {
            self.report(Flaw::Changed(self.sequence));
        }
        let reached = Head {
            sequence: self.sequence,
            hash: self.hash,
        };
        (self.flaws, reached)
    }

    fn report(&mut self, flaw: Flaw) {
        if self.flaws.len() < FLAWS_MAX && self.flaws.last() != Some(&flaw) {
            self.flaws.push(flaw);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(length: i64) -> (Vec<Entry>, Head) {
        let mut head = Head {
            sequence: 0,
            hash: CHAIN_START.to_vec(),
        };
        let mut entries = Vec::new();
        for sequence in 1..=length {
            let audit_context = AuditContext::of_operator(Timestamp::from_millis(sequence));
            let audit_event = AuditEvent {
                organization: None,
                action: Action::KeyCreated,
                subject: format!("key {sequence}"),
                details: serde_json::json!({ "name": "鍵" }),
            };
            let entry = Entry::following(&head.hash, sequence, &audit_context, &audit_event);
            head = Head {
                sequence,
                hash: entry.hash.clone(),
            };
            entries.push(entry);
        }
        (entries, head)
    }

    fn flaws(entries: &[Entry], head: &Head) -> Vec<Flaw> {
        let mut verifier = Verifier::default();
        for entry in entries {
            verifier.take(entry);
        }
        verifier.end(head).0
    }

    #[test]
    fn an_untouched_chain_has_no_flaw() {
        let (entries, head) = chain(5);
        assert_eq!(flaws(&entries, &head), []);
        assert_eq!(flaws(&[], &chain(0).1), []);
    }

    #[test]
    fn a_changed_a_missing_and_a_swapped_row_are_each_named() {
        let (entries, head) = chain(5);
        let mut changed = entries.clone();
        changed[2].subject = "key 9".to_owned();
        assert_eq!(flaws(&changed, &head), [Flaw::Changed(3)]);
        // An attacker who knows the algorithm changes the hash too: then the next row does not match.
        changed[2].hash = changed[2].chained_to(&entries[1].hash).to_vec();
        assert_eq!(flaws(&changed, &head), [Flaw::Changed(4)]);

        let mut missing = entries.clone();
        missing.remove(2);
        assert_eq!(flaws(&missing, &head), [Flaw::Missing(3)]);

        let mut swapped = entries.clone();
        swapped[1].sequence = 3;
        swapped[2].sequence = 2;
        swapped.swap(1, 2);
        assert_eq!(
            flaws(&swapped, &head),
            [Flaw::Changed(2), Flaw::Changed(3), Flaw::Changed(4)]
        );

        let end = Flaw::End {
            found: 4,
            expected: 5,
        };
        assert_eq!(flaws(&entries[..4], &head), [end]);
        let mut added = entries.clone();
        added[4].sequence = 9;
        added.insert(0, added[4].clone());
        added[0].sequence = -7;
        let found = flaws(&added, &head);
        assert_eq!(found.first(), Some(&Flaw::Added(-7)));
        assert_eq!(found.last(), Some(&Flaw::Added(9)));
        let mut last = entries.clone();
        last[4].at_ms += 1;
        last[4].hash = last[4].chained_to(&entries[3].hash).to_vec();
        assert_eq!(flaws(&last, &head), [Flaw::Changed(5)]);
    }

    #[test]
    fn an_absent_field_is_not_an_empty_one() {
        let (entries, _head) = chain(1);
        let mut other = entries[0].clone();
        other.address = Some(String::new());
        assert_ne!(
            other.chained_to(&CHAIN_START),
            entries[0].chained_to(&CHAIN_START)
        );
    }
}
