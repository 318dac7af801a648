//! The claimant's side: asks the registrar of an id, and does without one that is silent. Never takes longer than
//! `cluster.claim_timeout`.

use std::sync::Arc;

use proto::claims::{self as pb, reply, request};
use tokio::time::Instant;

use super::Claims;
use crate::metrics::Metric;
use crate::registry::{Claim, Epoch, Grant, Loss, Refusal};

impl Claims {
    pub(super) async fn claim_here(self: Arc<Self>, mut claim: Claim) -> Result<Grant, Refusal> {
        let until = Instant::now() + self.timeout;
        let _pending = Pending::new(self.clone(), claim.client_id.clone());
        loop {
            let grant = self.claim_once(&claim, until).await?;
            // Another node got the id after this grant was made and before it came here. That node was told nothing of
            // a session here, so this one claims again, above it: the last claim wins.
            let fence = self.engine.lock().fence_of(&claim.client_id);
            if fence < grant.epoch || Instant::now() >= until {
                return Ok(grant);
            }
            claim.known = fence;
        }
    }

    async fn claim_once(self: &Arc<Self>, claim: &Claim, until: Instant) -> Result<Grant, Refusal> {
        let mut registrar = self.engine.lock().view().registrar(&claim.client_id).to_owned();
        for redirected in [false, true] {
            let patience = until.saturating_duration_since(Instant::now()) * 4 / 5;
            if registrar == self.node {
                return self.grant(&self.node, claim, patience).await.ok_or(Refusal::Held);
            }
            let request = pb::Claim {
                client_id: claim.client_id.to_string(),
                clean_start: claim.clean_start,
                session_expiry: claim.session_expiry,
                known: claim.known.0,
                redirected,
                holder: claim.holder.0,
                orphan: claim.is_orphan,
                patience_ms: u32::try_from(patience.as_millis()).unwrap_or(u32::MAX),
            };
            match self.ask(&registrar, request::What::Claim(request), until).await {
                Some(reply::What::Redirect(redirect)) => registrar = redirect.registrar,
                Some(reply::What::Granted(pb::Granted { epoch, previous }))
                    if epoch > claim.known.0 && self.clock.merge(epoch).is_ok() =>
                {
                    let previous = Some(previous).filter(|previous| !previous.is_empty());
                    return Ok(Grant { epoch: Epoch(epoch), previous });
                }
                Some(reply::What::Held(pb::Held {})) => return Err(Refusal::Held),
                _ => break,
            }
        }
        self.count(Metric::ClaimsTimedOut);
        self.announce_again(&registrar);
        let mut grant = self.own_grant(claim)?;
        // It would have said who has the session: any of the others may.
        let others: Vec<String> = self.engine.lock().others().map(str::to_owned).collect();
        grant.previous = others.iter().find(|node| **node != registrar).cloned();
        self.tell_in_background(
            others,
            claim.client_id.clone(),
            Loss { epoch: grant.epoch, is_clean: claim.clean_start },
        );
        Ok(grant)
    }

    /// What this node decides without the registrar.
    pub(super) fn own_grant(&self, claim: &Claim) -> Result<Grant, Refusal> {
        let epoch = Epoch(self.clock.above(claim.known.0));
        if claim.needs_registrar { Err(Refusal::Silent) } else { Ok(Grant { epoch, previous: None }) }
    }

    /// A registrar does not know what was granted without it.
    fn announce_again(self: &Arc<Self>, registrar: &str) {
        if self.engine.lock().distrust(registrar) {
            self.spawn_announcer(registrar.to_owned(), self.timeout);
        }
    }
}

/// Marks an id as being claimed here, however the claim ends.
struct Pending {
    claims: Arc<Claims>,
    client_id: Arc<str>,
}

impl Pending {
    fn new(claims: Arc<Claims>, client_id: Arc<str>) -> Self {
        claims.engine.lock().claim_began(&client_id);
        Self { claims, client_id }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.claims.engine.lock().claim_ended(&self.client_id);
    }
}
