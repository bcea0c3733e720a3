//! Ads on a free port over a throw-away database, with a profile of our own.

use std::sync::Arc;

use clap::Parser as _;
use rapport_ads::config::Config;
use rapport_ads::{Ads, Peers};
use rapport_api::ads::v1::campaign_service_client::CampaignServiceClient;
use rapport_api::ads::v1::decision_service_client::DecisionServiceClient;
use rapport_api::ads::v1::*;
use rapport_rpc::{Channel, ClientConfig, ServeConfig, Server, connect};
use rapport_store::testing::{Engine, TestDb};
use rapport_types::{Clock, ConsentState, ManualClock, Purpose, SubjectId, UnixMillis};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;
use tonic_types::StatusExt as _;

use rapport_flow::testing::FakeLog;

/// 2023-11-14, 22:13:20 UTC.
pub(crate) const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

pub(crate) fn channel(url: &str) -> Channel {
    connect(&ClientConfig::new(url)).unwrap()
}

/// The clients of one ads server.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    pub(crate) campaigns: CampaignServiceClient<Channel>,
    pub(crate) decisions: DecisionServiceClient<Channel>,
}

impl Clients {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            campaigns: CampaignServiceClient::new(channel(url)),
            decisions: DecisionServiceClient::new(channel(url)),
        }
    }

    pub(crate) async fn put_campaign(&self, id: &str) {
        let request = UpsertCampaignRequest {
            request_id: format!("campaign-{id}"),
            campaign: Some(campaign(id)),
        };
        self.campaigns
            .clone()
            .upsert_campaign(request)
            .await
            .unwrap();
    }

    pub(crate) async fn put(&self, line_item: LineItem) -> Result<LineItem, Status> {
        let request = UpsertLineItemRequest {
            request_id: uuid::Uuid::new_v4().simple().to_string(),
            line_item: Some(line_item),
        };
        let response = self.campaigns.clone().upsert_line_item(request).await?;
        Ok(response.into_inner().line_item.unwrap())
    }

    pub(crate) async fn decide(&self, request: DecideRequest) -> Result<DecideResponse, Status> {
        Ok(self.decisions.clone().decide(request).await?.into_inner())
    }

    /// Decides for the placement `home`, with an explanation, under a request id of its own.
    pub(crate) async fn home(&self, subject: Option<SubjectId>) -> DecideResponse {
        self.decide(home(subject)).await.unwrap()
    }

    pub(crate) async fn record(
        &self,
        decision_id: &[u8],
        kind: AdEventKind,
    ) -> Result<RecordAdEventResponse, Status> {
        let request = RecordAdEventRequest {
            decision_id: decision_id.to_vec(),
            kind: kind.into(),
        };
        Ok(self
            .decisions
            .clone()
            .record_ad_event(request)
            .await?
            .into_inner())
    }

    pub(crate) async fn ledger(&self, line_item: &str) -> Result<Books, Status> {
        let request = GetLedgerRequest {
            line_item_id: line_item.to_owned(),
        };
        let ledger = self
            .campaigns
            .clone()
            .get_ledger(request)
            .await?
            .into_inner();
        let mut books = Books {
            sum: ledger.sum_micros,
            ..Books::default()
        };
        for account in ledger.accounts {
            match account.account.split(':').next() {
                Some("budget") => books.free += account.balance_micros,
                Some("spent") => books.spent += account.balance_micros,
                Some("lease") => {
                    books.leased += account.balance_micros;
                    books.leases.push(account.account);
                }
                _ => {}
            }
        }
        Ok(books)
    }
}

/// One line item's money.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Books {
    pub(crate) free: i64,
    pub(crate) leased: i64,
    pub(crate) spent: i64,
    /// The names of the lease accounts.
    pub(crate) leases: Vec<String>,
    /// Over the whole ledger.
    pub(crate) sum: i64,
}

/// One ads in this process.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) ads: Arc<Ads>,
    pub(crate) clients: Clients,
    stop: CancellationToken,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A profile, a database, a clock.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) log: FakeLog,
    pub(crate) db: TestDb,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) profile: String,
    pub(crate) data: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let (log, profile) = FakeLog::serve().await;
        Self {
            log,
            db: TestDb::create(Engine::Sqlite).await,
            clock: Arc::new(ManualClock::at(NOW)),
            profile,
            data: tempfile::tempdir().unwrap(),
        }
    }

    /// Starts ads with counters in memory and waits until its view of people is complete.
    pub(crate) async fn start(&self) -> Replica {
        let clock = Arc::clone(&self.clock);
        self.start_with(&["--replica", "a"], clock).await.unwrap()
    }

    pub(crate) async fn start_with(
        &self,
        flags: &[&str],
        clock: Arc<dyn Clock>,
    ) -> Result<Replica, rapport_ads::StartError> {
        let data = self.data.path().to_str().unwrap();
        let fixed = [
            "rapport-ads",
            "--database-url",
            self.db.url(),
            "--data",
            data,
        ];
        let config = Config::parse_from(fixed.iter().chain(flags));
        let peers = Peers {
            profile: channel(&self.profile),
            evaluate: None,
        };
        let ads = Arc::new(Ads::start(&config, peers, clock).await?);
        let mut routes = Routes::builder();
        ads.mount(&mut routes);
        let server = Server::new(ServeConfig::local_test(), routes.routes(), &Ads::SERVICES);
        let bound = server.bind().unwrap();
        let url = format!("http://{}", bound.address());
        let stop = CancellationToken::new();
        tokio::spawn(bound.run(stop.clone().cancelled_owned()));
        ads.people().wait_ready().await;
        let clients = Clients::new(&url);
        Ok(Replica { ads, clients, stop })
    }

    /// Grants purposes and waits until `replica` knows.
    pub(crate) async fn grant(&self, replica: &Replica, subject: SubjectId, purposes: &[Purpose]) {
        self.say(replica, subject, purposes, ConsentState::Granted)
            .await;
    }

    pub(crate) async fn revoke(&self, replica: &Replica, subject: SubjectId, purposes: &[Purpose]) {
        self.say(replica, subject, purposes, ConsentState::Revoked)
            .await;
    }

    async fn say(
        &self,
        replica: &Replica,
        subject: SubjectId,
        purposes: &[Purpose],
        state: ConsentState,
    ) {
        let sequence = self.log.set_consent(&[subject], purposes, state);
        known(replica, sequence).await;
    }

    /// Erases a subject and waits until `replica` knows.
    pub(crate) async fn erase(&self, replica: &Replica, subject: SubjectId) {
        known(replica, self.log.erase(subject)).await;
    }

    /// Links subjects; the first is the anchor.
    pub(crate) async fn link(&self, replica: &Replica, subjects: &[SubjectId]) {
        let sequence = self.log.link(subjects);
        known(replica, sequence).await;
    }
}

/// Waits until a replica's view has a control record.
async fn known(replica: &Replica, sequence: u64) {
    let people = replica.ads.people();
    let mut changes = people.subscribe();
    while people.control_sequence() < sequence {
        changes.recv().await.unwrap();
    }
}

pub(crate) fn subject(n: u8) -> SubjectId {
    SubjectId::new([n; 16])
}

pub(crate) fn home(subject: Option<SubjectId>) -> DecideRequest {
    DecideRequest {
        request_id: uuid::Uuid::new_v4().simple().to_string(),
        subject_id: subject.map(SubjectId::to_vec).unwrap_or_default(),
        placement: "home".to_owned(),
        explain: true,
        ..DecideRequest::default()
    }
}

pub(crate) fn campaign(id: &str) -> Campaign {
    Campaign {
        campaign_id: id.to_owned(),
        name: "Spring".to_owned(),
        state: DeliveryState::Active.into(),
        // So long ago that its budget is due at once.
        starts_at_ms: 0,
        ..Campaign::default()
    }
}

/// A line item of campaign `c` that pays `bid` per thousand impressions, for everybody.
pub(crate) fn line_item(id: &str, bid_micros: i64, budget_micros: i64) -> LineItem {
    LineItem {
        line_item_id: id.to_owned(),
        campaign_id: "c".to_owned(),
        state: DeliveryState::Active.into(),
        bid_type: BidType::Cpm.into(),
        bid_micros,
        budget_micros,
        creatives: vec![Creative {
            creative_id: "c1".to_owned(),
            headline: "Fresh tea".to_owned(),
            language: String::new(),
            landing: "item:tea".to_owned(),
        }],
        ..LineItem::default()
    }
}

pub(crate) fn winner(response: &DecideResponse) -> &str {
    response
        .winner
        .as_ref()
        .map_or("", |winner| &winner.line_item_id)
}

/// Returns the outcome of a line item in an explanation.
pub(crate) fn outcome<'a>(response: &'a DecideResponse, line_item: &str) -> &'a str {
    let considered = response
        .considered
        .iter()
        .find(|it| it.line_item_id == line_item);
    considered.map_or("", |it| &it.outcome)
}

pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

pub(crate) fn bad_fields(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request().unwrap().field_violations;
    bad.into_iter().map(|violation| violation.field).collect()
}
