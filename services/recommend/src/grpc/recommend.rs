//! `RecommendService`: what to show now. Reads snapshots in memory, and timelines where they live.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rapport_api::event::v1::{Candidate, DecisionHeader, RecommendationDecided};
use rapport_api::recommend::v1 as pb;
use rapport_api::recommend::v1::recommend_service_server::RecommendService;
use rapport_api::r#type::v1::Degraded;
use rapport_flow::{Arms, Consent, DecisionDraft, Experiments, Outbox, People, States, any_of};
use rapport_rpc::{FieldViolation, InvalidRequest};
use rapport_telemetry::names;
use rapport_types::{Clock, DecisionId, Probability, Purpose, SubjectId, UnixMillis};
use recommend_domain::{
    HistoryItem, Interaction, ItemIdx, Items, Models, Query, RankOptions, Ranking, Reason, Scratch,
    Timeline, rank,
};
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::parse::RecommendQuery;
use super::{encode, parse};
use crate::error::Error;
use crate::projection::timeline::fold;
use crate::projection::{SubjectTimeline, Timelines};
use crate::serving::Serving;
use crate::store::model::ModelRow;

/// The experiment whose variants this service knows. `control` ranks as always.
pub const EXPERIMENT: &str = "recommend_ranking";
/// Longest wait for timelines that live in a store; then the answer is popular items.
const TIMELINES_WAIT_MAX: Duration = Duration::from_millis(100);

thread_local! {
    /// Working memory that ranking reuses. Nothing of one answer reaches the next.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The service.
#[derive(Debug, Clone)]
pub struct RecommendApi {
    /// What is served.
    pub serving: Arc<ArcSwap<Serving>>,
    /// What people did.
    pub timelines: States<Timelines>,
    /// Who is whom and who permits what.
    pub people: People,
    /// Who is in which arm.
    pub experiments: Experiments,
    /// The way of decisions to the log.
    pub outbox: Outbox,
    /// The present.
    pub clock: Arc<dyn Clock>,
}

#[tonic::async_trait]
impl RecommendService for RecommendApi {
    async fn recommend(
        &self,
        request: Request<pb::RecommendRequest>,
    ) -> Result<Response<pb::RecommendResponse>, Status> {
        Ok(Response::new(self.answer(request.into_inner()).await?))
    }

    async fn list_similar_items(
        &self,
        request: Request<pb::ListSimilarItemsRequest>,
    ) -> Result<Response<pb::ListSimilarItemsResponse>, Status> {
        Ok(Response::new(self.similar(request.into_inner())?))
    }

    async fn list_bought_together(
        &self,
        request: Request<pb::ListBoughtTogetherRequest>,
    ) -> Result<Response<pb::ListBoughtTogetherResponse>, Status> {
        Ok(Response::new(self.together(request.into_inner())?))
    }

    async fn get_timeline(
        &self,
        request: Request<pb::GetTimelineRequest>,
    ) -> Result<Response<pb::GetTimelineResponse>, Status> {
        Ok(Response::new(self.timeline(request.into_inner()).await?))
    }
}

/// A decision that was made and not yet told.
struct Decision<'a> {
    id: DecisionId,
    query: &'a RecommendQuery,
    now: UnixMillis,
    ranking: &'a Ranking,
    degraded: Degraded,
    arms: &'a Arms,
    measured: bool,
}

impl RecommendApi {
    async fn answer(&self, raw: pb::RecommendRequest) -> Result<pb::RecommendResponse, Error> {
        let query = parse::recommend(raw)?;
        let serving = self.serving.load_full();
        let (categories, excluded) = (query.categories.clone(), query.exclude_ids.clone());
        let filter = serving.filter(categories, excluded).map_err(|bad| {
            let violation =
                |bad: recommend_domain::Violation| FieldViolation::new(bad.field, bad.reason);
            InvalidRequest(bad.into_iter().map(violation).collect())
        })?;
        let measured = self
            .people
            .consent(query.subject, Purpose::Measure)
            .is_granted();
        let anchor = self.people.anchor(query.subject);
        let arms = self.experiments.arms(anchor, measured);
        let variant = arms.variant(EXPERIMENT).unwrap_or_default();
        let (history, degraded) = self.history(query.subject, &serving).await;
        let (id, now) = (self.outbox.new_decision_id(), self.clock.now());
        let ranking = rank_with_scratch(
            &Query {
                history: &history,
                filter: &filter,
                limit: query.limit,
                now,
                key: draw_key(id),
                options: &options_of(variant),
            },
            &serving.models(),
        );
        let decision = Decision {
            id,
            query: &query,
            now,
            ranking: &ranking,
            degraded,
            arms: &arms,
            measured,
        };
        Ok(self.tell(&decision, &serving))
    }

    /// Returns the person's history, newest first, and why it is not what it could be.
    async fn history(&self, subject: SubjectId, serving: &Serving) -> (Vec<HistoryItem>, Degraded) {
        match self.people.consent(subject, Purpose::Personalise) {
            Consent::Granted => {}
            Consent::Refused => return (Vec::new(), Degraded::Consent),
            Consent::Stale => return (Vec::new(), Degraded::StaleConsent),
        }
        let Ok(members) = self.members_timelines(subject).await else {
            return (Vec::new(), Degraded::Dependency);
        };
        let folded = fold(&members, |id| serving.shelf.items.get(id));
        let degraded = match serving.shelf.model {
            Some(_) => Degraded::Unspecified,
            None => Degraded::NoModel,
        };
        (folded.history(), degraded)
    }

    async fn members_timelines(
        &self,
        subject: SubjectId,
    ) -> Result<Vec<Arc<SubjectTimeline>>, Error> {
        let members = self.people.members(subject);
        let read = timeout(TIMELINES_WAIT_MAX, self.timelines.get_many(&members)).await;
        match read {
            Ok(Ok(timelines)) => Ok(timelines),
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no timelines");
                Err(Error::Away(Box::new(error)))
            }
            Err(elapsed) => Err(Error::Away(Box::new(elapsed))),
        }
    }

    /// Queues the decision for the log and encodes the answer. Nothing waits: with a full outbox the
    /// answer has no decision, which the answer says.
    fn tell(&self, decision: &Decision<'_>, serving: &Serving) -> pb::RecommendResponse {
        let models = serving.models();
        let ranking = decision.ranking;
        let model_version = serving
            .shelf
            .model
            .as_ref()
            .map(ModelRow::name)
            .unwrap_or_default();
        let arms = decision.arms.exposures(&[EXPERIMENT]);
        let draft = DecisionDraft {
            model_version: model_version.clone(),
            arms: arms.clone(),
            degraded: decision.degraded,
            subject: decision.measured.then_some(decision.query.subject),
            occurred_at: decision.now,
        };
        let candidates = candidates(ranking, &models);
        let placement = decision.query.placement.clone();
        let told = self
            .outbox
            .decide_as(decision.id, draft, |header: DecisionHeader| {
                let decided = RecommendationDecided {
                    header: Some(header),
                    placement,
                    candidates,
                };
                any_of("rapport.event.v1.RecommendationDecided", &decided)
            });
        let (decision_id, degraded) = match (told, decision.degraded) {
            (Ok(()), degraded) => (decision.id.to_vec(), degraded),
            (Err(_full), Degraded::Unspecified) => (Vec::new(), Degraded::Dependency),
            (Err(_full), degraded) => (Vec::new(), degraded),
        };
        names::RECOMMENDATIONS.add(1, &[label(degraded)]);
        let items = ranking.items.iter();
        pb::RecommendResponse {
            items: items
                .map(|it| encode::recommended(it.item, it.score, &it.reasons, &models))
                .collect(),
            decision_id,
            degraded: degraded.into(),
            model_version,
            arms,
        }
    }

    fn similar(
        &self,
        raw: pb::ListSimilarItemsRequest,
    ) -> Result<pb::ListSimilarItemsResponse, Error> {
        let (item_id, limit) = parse::about_item(raw.item_id, raw.page_size)?;
        let serving = self.serving.load_full();
        let Some(index) = serving.shelf.index(&item_id) else {
            return Err(Error::ItemNotFound(item_id));
        };
        let models = serving.models();
        let filter = serving.filter(Vec::new(), Vec::new()).unwrap_or_default();
        let is_shown = |item: ItemIdx| item != index && filter.permits(item, models.catalogue);
        let neighbours = models.similar.neighbours(index).iter();
        let mut items: Vec<_> = neighbours
            .filter(|neighbour| is_shown(neighbour.item))
            .take(limit)
            .map(|it| encode::recommended(it.item, it.score, &[Reason::SimilarTo(index)], &models))
            .collect();
        if items.is_empty() {
            // Before anybody bought it, the nearest thing to a neighbour is its category.
            let category = models.catalogue.category(index);
            let popular = models.popular.in_category(category).iter().copied();
            let reason = [Reason::PopularInCategory(category)];
            items = popular
                .filter(|item| is_shown(*item))
                .take(limit)
                .map(|it| encode::recommended(it, models.popular.score(it), &reason, &models))
                .collect();
        }
        Ok(pb::ListSimilarItemsResponse { items })
    }

    fn together(
        &self,
        raw: pb::ListBoughtTogetherRequest,
    ) -> Result<pb::ListBoughtTogetherResponse, Error> {
        let (item_id, limit) = parse::about_item(raw.item_id, raw.page_size)?;
        let serving = self.serving.load_full();
        let Some(index) = serving.shelf.index(&item_id) else {
            return Err(Error::ItemNotFound(item_id));
        };
        let models = serving.models();
        let filter = serving.filter(Vec::new(), Vec::new()).unwrap_or_default();
        let partners = models.together.bought_together(index, usize::MAX);
        let items = partners
            .iter()
            .filter(|partner| filter.permits(partner.item, models.catalogue))
            .take(limit)
            .map(|partner| encode::together(partner, &models));
        Ok(pb::ListBoughtTogetherResponse {
            items: items.collect(),
        })
    }

    async fn timeline(
        &self,
        raw: pb::GetTimelineRequest,
    ) -> Result<pb::GetTimelineResponse, Error> {
        let (subject, limit) = parse::timeline(&raw)?;
        match self.people.consent(subject, Purpose::Personalise) {
            Consent::Granted => {}
            Consent::Refused => return Err(Error::ConsentMissing(Purpose::Personalise)),
            Consent::Stale => return Err(Error::ConsentViewStale),
        }
        let members = self.members_timelines(subject).await?;
        // On a numbering of its own: what somebody did is told whether or not it can be bought.
        let (mut items, mut folded) = (Items::default(), Timeline::default());
        for member in &members {
            member.add_to(&mut folded, |id| items.intern(id).ok());
        }
        let mut done: Vec<&Interaction> = folded.interactions().collect();
        done.sort_unstable_by_key(|it| std::cmp::Reverse((it.occurred_at, it.order)));
        let entry = |it: &Interaction| pb::TimelineEntry {
            item_id: items.name(it.item).to_owned(),
            kind: it.kind.name().to_owned(),
            occurred_at_ms: it.occurred_at.0,
        };
        let entries = done.into_iter().take(limit).map(entry).collect();
        Ok(pb::GetTimelineResponse { entries })
    }
}

fn label(degraded: Degraded) -> &'static str {
    match degraded {
        Degraded::Unspecified => "no",
        Degraded::Consent => "consent",
        Degraded::StaleConsent => "stale_consent",
        Degraded::Dependency => "dependency",
        Degraded::NoModel => "no_model",
    }
}

fn rank_with_scratch(query: &Query<'_>, models: &Models<'_>) -> Ranking {
    SCRATCH.with_borrow_mut(|scratch| rank(query, models, scratch))
}

/// Returns what chance is drawn from: the random half of the id, so that the id explains the answer.
fn draw_key(id: DecisionId) -> u64 {
    let mut half = [0; 8];
    half.copy_from_slice(&id.as_bytes()[8..]);
    u64::from_be_bytes(half)
}

/// Returns how a variant of [`EXPERIMENT`] composes a list; an unknown one as the control.
fn options_of(variant: &str) -> RankOptions {
    let control = RankOptions::default();
    match variant {
        "diverse" => RankOptions {
            diversity: 0.3,
            ..control
        },
        "explore" => RankOptions {
            exploration: Probability::saturating(0.2),
            ..control
        },
        "no_explore" => RankOptions {
            exploration: Probability::saturating(0.0),
            ..control
        },
        "popular" => RankOptions {
            sources_max: 0,
            ..control
        },
        _ => control,
    }
}

/// Encodes what was shown and could have been; shown ones say their strongest reason.
fn candidates(ranking: &Ranking, models: &Models<'_>) -> Vec<Candidate> {
    let reason = |item: ItemIdx| {
        let shown = ranking.items.iter().find(|shown| shown.item == item);
        let first = shown.and_then(|shown| shown.reasons.first());
        first
            .map(|reason| reason.code().to_owned())
            .unwrap_or_default()
    };
    let candidate = |it: &recommend_domain::Candidate| Candidate {
        id: models.items.name(it.item).to_owned(),
        score: f64::from(it.score),
        propensity: it.propensity.get(),
        shown: it.is_shown,
        reason: reason(it.item),
    };
    ranking.candidates.iter().map(candidate).collect()
}
