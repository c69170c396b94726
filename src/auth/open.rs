//! A worker's open requests: each is asked before every chunk whether it may go on, and is found by a
//! sweep when it says nothing.
//!
//! Everything here belongs to one worker's thread. A request is registered, and then checked once more
//! before it is forwarded; the follower puts a tombstone in place, and then has every worker sweep. A
//! check that missed the tombstone came before it, so its request is registered when the sweep comes.
//!
//! While the lease is out a request is *frozen*: nothing of it moves, either way. When the lease is back
//! it goes on, is cut, or, if too much happened meanwhile, is looked up in the store anew.
//!
//! What the store says anew replaces the caller, and whatever the request was admitted by is checked
//! again: a key that was rotated has another end, one whose owner was demoted has fewer scopes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::authenticate::{AdmissionState, Authenticator};
use super::caller::Caller;
use super::sweeps::SweepRequests;
use crate::listen::watch::Watch;
use crate::model::change::Sequence;
use crate::model::clock::BootInstant;
use crate::model::id::KeyId;
use crate::model::refusal::Refusal;
use crate::model::scope::{Scope, Scopes};
use crate::store::Report;

/// How long a request that was cut may take to end by itself, a last event included; then its connection
/// is reset. With the sweep before it, this keeps the 100 ms of the promise.
const CUT_GRACE: Duration = Duration::from_millis(60);
/// Between two tries to look a frozen request up anew.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Who waits on a request's behalf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// For the head of the answer.
    Head = 0,
    /// For the client's body, on its way to the upstream.
    Upload = 1,
    /// For the upstream's body, on its way to the client; or for both directions of a tunnel.
    Download = 2,
}

/// The open requests of one worker.
pub struct OpenRequests {
    authenticator: Arc<Authenticator>,
    slots: RefCell<Slab<Weak<OpenRequest>>>,
    /// What was cut and not reported yet, by the place of the entry that did it.
    unreported: RefCell<BTreeMap<Sequence, Cut>>,
    freeze_timeout: Duration,
    /// Why every request ends that comes from now on.
    closed: Cell<Option<Refusal>>,
}

#[derive(Default)]
struct Cut {
    count: u64,
    last_accepted: Option<BootInstant>,
}

/// Who was admitted, and what for. Checked again whenever the store says something new of the caller.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Whose key it is, as it was last looked up.
    pub caller: Arc<Caller>,
    /// The scope that the route requires.
    pub scope: Scope,
    /// The scopes of more specific routes for which another reader could take the path.
    pub elsewhere: Scopes,
}

impl Admission {
    /// Whether the caller may do what was asked for.
    ///
    /// # Errors
    /// [`Refusal::RouteAmbiguous`] and [`Refusal::ScopeMissing`].
    pub fn check(&self) -> Result<(), Refusal> {
        let scopes = self.caller.principal().scopes;
        if !scopes.contains_all(self.elsewhere) {
            Err(Refusal::RouteAmbiguous)
        } else if !scopes.contains(self.scope) {
            Err(Refusal::ScopeMissing(self.scope))
        } else {
            Ok(())
        }
    }
}

/// One admitted request, until its last byte.
pub struct OpenRequest {
    all: Rc<OpenRequests>,
    slot: usize,
    admission: RefCell<Admission>,
    connection: Arc<Watch>,
    is_alone: bool,
    ended: Cell<Option<Refusal>>,
    frozen_since: Cell<Option<BootInstant>>,
    is_asked_for: Cell<bool>,
    wakers: RefCell<[Option<Waker>; 3]>,
}

impl OpenRequests {
    /// For one worker, on its thread.
    pub fn new(authenticator: Arc<Authenticator>, freeze_timeout: Duration) -> Rc<Self> {
        Rc::new(Self {
            authenticator,
            slots: RefCell::default(),
            unreported: RefCell::default(),
            freeze_timeout,
            closed: Cell::new(None),
        })
    }

    /// Registers a request that was admitted. It is to be checked once more before it is forwarded.
    /// `is_alone`: its connection carries no other request (HTTP/1).
    pub fn open(
        self: &Rc<Self>,
        admission: Admission,
        connection: Arc<Watch>,
        is_alone: bool,
    ) -> Rc<OpenRequest> {
        let mut slots = self.slots.borrow_mut();
        let entry = slots.vacant_entry();
        let request = Rc::new(OpenRequest {
            all: Rc::clone(self),
            slot: entry.key(),
            admission: RefCell::new(admission),
            connection,
            is_alone,
            ended: Cell::new(self.closed.get()),
            frozen_since: Cell::new(None),
            is_asked_for: Cell::new(false),
            wakers: RefCell::default(),
        });
        entry.insert(Rc::downgrade(&request));
        request
    }

    /// The key of each request that is open.
    pub fn keys(&self) -> Vec<KeyId> {
        let open = self.registered().into_iter();
        open.map(|request| request.caller().principal().key_id)
            .collect()
    }

    /// Answers the follower's sweeps, for as long as the worker lives.
    pub async fn answer_sweeps(self: Rc<Self>) {
        let mut sweeps: SweepRequests = self.authenticator.attend_sweeps();
        while let Some(answer) = sweeps.recv().await {
            self.sweep();
            // A follower that no longer waits loses a number, nothing else.
            drop(answer.send(self.tell()));
        }
    }

    /// A turn of the worker's clock: ends what is over its date, or was frozen for too long.
    pub fn tick(&self) {
        let now = self.authenticator.boot();
        let mut cut = Vec::new();
        for request in self.registered() {
            let frozen = request.frozen_since.get();
            let refusal = if request.ended.get().is_some() {
                continue;
            } else if frozen.is_some_and(|since| now.since(since) > self.freeze_timeout) {
                Refusal::LeaseExpired
            } else if let Some(expired) = self.authenticator.expiry(request.caller().principal()) {
                expired
            } else {
                continue;
            };
            request.end(refusal);
            cut.push(Rc::downgrade(&request));
        }
        reset_after_grace(cut);
    }

    /// Ends every request that is open, and those that are still to be opened. Each may still say why, and is not reset
    /// for it.
    pub fn end_all(&self, refusal: Refusal) {
        self.closed.set(Some(refusal));
        for request in self.registered() {
            if request.ended.get().is_none() {
                request.end(refusal);
            }
        }
    }

    /// Looks at every request again.
    fn sweep(&self) {
        let mut cut = Vec::new();
        for request in self.registered() {
            match request.admission_state() {
                Ok(AdmissionState::Holds(_)) if request.frozen_since.take().is_some() => {
                    request.wake();
                }
                Ok(AdmissionState::Stale) => request.ask_again(),
                Ok(
                    AdmissionState::Holds(_) | AdmissionState::Fenced | AdmissionState::Revoked(_),
                ) => {}
                Err(_refusal) => cut.push(Rc::downgrade(&request)),
            }
        }
        reset_after_grace(cut);
    }

    /// Out of the slots, so that what is done to a request may end it.
    fn registered(&self) -> Vec<Rc<OpenRequest>> {
        let slots = self.slots.borrow();
        slots.iter().filter_map(|(_, one)| one.upgrade()).collect()
    }

    fn tell(&self) -> Vec<Report> {
        let unreported = std::mem::take(&mut *self.unreported.borrow_mut());
        let report = |(place, cut): (Sequence, Cut)| {
            Some(Report {
                sequence: self.authenticator.sequence(place)?,
                streams_cut: cut.count,
                last_accepted_at: cut.last_accepted.map(|it| self.authenticator.wall(it)),
            })
        };
        unreported.into_iter().filter_map(report).collect()
    }

    fn note(&self, place: Sequence, caller: &Caller) {
        let mut unreported = self.unreported.borrow_mut();
        let cut = unreported.entry(place).or_default();
        cut.count += 1;
        cut.last_accepted = cut.last_accepted.max(caller.accepted());
    }
}

impl OpenRequest {
    /// Whether one more chunk may pass. Pending: frozen; the one who asks is woken when that changes.
    pub fn poll_pass(&self, direction: Direction, cx: &Context<'_>) -> Poll<Result<(), Refusal>> {
        match self.admission_state() {
            Ok(AdmissionState::Holds(_)) => Poll::Ready(Ok(())),
            Ok(_unknown) => {
                if self.frozen_since.get().is_none() {
                    self.frozen_since.set(Some(self.all.authenticator.boot()));
                }
                self.watch(direction, cx);
                Poll::Pending
            }
            Err(refusal) => Poll::Ready(Err(refusal)),
        }
    }

    /// Whether it may be forwarded at this moment. Nothing was sent yet, so it need not wait.
    pub fn check(&self) -> Result<(), Refusal> {
        match self.admission_state()? {
            AdmissionState::Holds(_) => Ok(()),
            AdmissionState::Fenced | AdmissionState::Stale | AdmissionState::Revoked(_) => {
                Err(Refusal::LeaseExpired)
            }
        }
    }

    /// Has the one who waits woken when the request ends or thaws.
    pub fn watch(&self, direction: Direction, cx: &Context<'_>) {
        let mut wakers = self.wakers.borrow_mut();
        let [head, upload, download] = &mut *wakers;
        let waker = match direction {
            Direction::Head => head,
            Direction::Upload => upload,
            Direction::Download => download,
        };
        match waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            other => *other = Some(cx.waker().clone()),
        }
    }

    /// Why it ended before its time.
    pub fn ended(&self) -> Option<Refusal> {
        self.ended.get()
    }

    /// Has the connection reset rather than closed when it ends, where it carries this request alone:
    /// what the kernel still holds for the client is not delivered.
    pub fn reset_connection_at_end(&self) {
        if self.is_alone {
            self.connection.reset_at_end();
        }
    }

    fn admission_state(&self) -> Result<AdmissionState, Refusal> {
        if let Some(refusal) = self.ended.get() {
            return Err(refusal);
        }
        let admission = self.admission.borrow();
        match self.all.authenticator.admission_state(&admission.caller) {
            AdmissionState::Revoked(place) => {
                self.all.note(place, &admission.caller);
                self.all.authenticator.progress().stream_cut();
                self.end(Refusal::KeyRevoked);
                Err(Refusal::KeyRevoked)
            }
            admission_state @ (AdmissionState::Holds(_)
            | AdmissionState::Fenced
            | AdmissionState::Stale) => Ok(admission_state),
        }
    }

    fn caller(&self) -> Arc<Caller> {
        Arc::clone(&self.admission.borrow().caller)
    }

    /// The caller is this from now on, if that may still do what was asked for.
    fn take_up(&self, caller: Arc<Caller>) -> Result<(), Refusal> {
        let mut admission = self.admission.borrow_mut();
        admission.caller = caller;
        admission.check()
    }

    fn end(&self, refusal: Refusal) {
        self.ended.set(Some(refusal));
        self.wake();
    }

    fn wake(&self) {
        let wakers = std::mem::take(&mut *self.wakers.borrow_mut());
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// What is known of it is below the floor: only the store can say whether it may go on.
    fn ask_again(self: &Rc<Self>) {
        if self.is_asked_for.replace(true) {
            return;
        }
        let authenticator = Arc::clone(&self.all.authenticator);
        let (caller, request) = (self.caller(), Rc::downgrade(self));
        spawn_local(async move {
            while request.strong_count() > 0 {
                let answer = authenticator.ask(caller.hash()).await;
                let Some(request) = request.upgrade() else {
                    return;
                };
                let answer = answer.map_err(|refused| refused.refusal);
                let refusal = match answer.and_then(|now| request.take_up(now)) {
                    Ok(()) => {
                        request.is_asked_for.set(false);
                        request.frozen_since.set(None);
                        return request.wake();
                    }
                    Err(refusal) => refusal,
                };
                if refusal.is_about_the_key() {
                    request.end(refusal);
                    return reset_after_grace(vec![Rc::downgrade(&request)]);
                }
                drop(request);
                sleep(ASK_AGAIN_AFTER).await;
            }
        });
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.all.slots.borrow_mut().try_remove(self.slot);
    }
}

/// What was cut and has not ended by itself, because its client takes nothing, ends with its connection.
fn reset_after_grace(cut: Vec<Weak<OpenRequest>>) {
    if cut.is_empty() {
        return;
    }
    spawn_local(async move {
        sleep(CUT_GRACE).await;
        for request in cut.iter().filter_map(Weak::upgrade) {
            request.connection.reset_now();
        }
    });
}
