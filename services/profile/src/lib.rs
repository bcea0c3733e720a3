//! Profile: the event log, and who people are, what they allow and what is known of them.
//!
//! `grpc` parses and encodes, `log` appends and tails, `store` holds the SQL; the rules are in
//! `profile-domain`. Profile calls no other service: everybody calls it.

pub mod background;
pub mod collector;
pub mod config;
pub mod control;
pub mod error;
pub mod grpc;
pub mod identity;
pub mod keyring;
pub mod log;
pub mod seal;
pub mod store;
pub mod subjects;

use std::sync::Arc;

use rapport_api::profile::v1::consent_service_server::ConsentServiceServer;
use rapport_api::profile::v1::event_service_server::EventServiceServer;
use rapport_api::profile::v1::key_service_server::KeyServiceServer;
use rapport_api::profile::v1::subject_service_server::SubjectServiceServer;
use rapport_flow::People;
use rapport_store::{Db, StoreError};
use rapport_types::Clock;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::RoutesBuilder;

use collector::Collector;
use config::Config;
use grpc::consent::ConsentApi;
use grpc::event::{EventApi, REQUEST_BYTES_MAX};
use grpc::key::KeyApi;
use grpc::subject::SubjectApi;
use identity::Identity;
use keyring::{Keyring, KeyringError};
use log::{Committer, CommitterOptions, Hub, Protection};
use subjects::Subjects;

static POSTGRES: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");
static SQLITE: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// Why profile cannot start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The keyring.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The database.
    #[error("profile's database cannot be used: {0}; check PROFILE_DATABASE_URL")]
    Store(#[from] StoreError),
    /// The log.
    #[error("profile's event log cannot be read: {0}")]
    Log(#[from] error::Error),
}

/// Profile, running: mount it on a server, then drain it.
#[derive(Debug)]
pub struct Profile {
    events: EventApi,
    identity: Identity,
    people: People,
    _background: Vec<AbortOnDropHandle<()>>,
}

impl Profile {
    /// Full names of the services, for health. The first stands for the whole.
    pub const SERVICES: [&'static str; 4] = [
        "rapport.profile.v1.EventService",
        "rapport.profile.v1.SubjectService",
        "rapport.profile.v1.ConsentService",
        "rapport.profile.v1.KeyService",
    ];

    /// Opens the database and the keyring and starts what runs in the background.
    ///
    /// # Errors
    /// [`StartError`], with what to do.
    pub async fn start(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let keyring = Arc::new(Keyring::open(&config.keyring)?);
        let db = Db::open(&config.store()).await?;
        db.migrate(&POSTGRES, &SQLITE).await?;
        let hub = Arc::new(Hub::default());
        for end in store::log::ends(&db).await? {
            hub.observe(end.partition, end.last_sequence);
        }
        let options = CommitterOptions {
            writers: config.log_writers.get(),
            protection: Protection {
                ack_after_commit: config.protects("ack-after-commit"),
                dedup: config.protects("dedup"),
            },
        };
        let committer = Committer::start(&db, &hub, &clock, options);
        let subjects = Subjects::new(db.clone(), Arc::clone(&keyring), Arc::clone(&clock));
        let people = People::new();
        let identity = Identity {
            db: db.clone(),
            hub: Arc::clone(&hub),
            people: people.clone(),
            subjects: subjects.clone(),
            keyring: Arc::clone(&keyring),
            clock: Arc::clone(&clock),
        };
        people
            .load(grpc::consent::load(&identity).await?)
            .map_err(|_incomplete| error::Error::Internal("the control snapshot is incomplete"))?;
        let collector = Collector {
            subjects: subjects.clone(),
            people: people.clone(),
            committer,
            keyring,
            clock: Arc::clone(&clock),
            sealing: config.protects("sealing"),
        };
        let spawn = |task: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            AbortOnDropHandle::new(tokio::spawn(task))
        };
        let background = vec![
            spawn(Box::pin(background::ring(Arc::clone(&hub), db.clone()))),
            spawn(Box::pin(background::observe(Arc::clone(&hub), db.clone()))),
            spawn(Box::pin(background::follow_people(
                people.clone(),
                Arc::clone(&hub),
                db.clone(),
                subjects,
            ))),
            spawn(Box::pin(background::relay(
                collector.clone(),
                Arc::clone(&hub),
                db.clone(),
            ))),
            spawn(Box::pin(background::sweep(db.clone(), clock))),
        ];
        people.wait_ready().await;
        Ok(Self {
            events: EventApi { collector, hub, db },
            identity,
            people,
            _background: background,
        })
    }

    /// Adds profile's services to a server's routes.
    pub fn mount(&self, routes: &mut RoutesBuilder) {
        let events = EventServiceServer::new(self.events.clone());
        let keys = KeyApi {
            subjects: self.identity.subjects.clone(),
            people: self.people.clone(),
        };
        routes
            .add_service(events.max_decoding_message_size(REQUEST_BYTES_MAX + 64 * 1024))
            .add_service(SubjectServiceServer::new(SubjectApi {
                identity: self.identity.clone(),
            }))
            .add_service(ConsentServiceServer::new(ConsentApi {
                identity: self.identity.clone(),
            }))
            .add_service(KeyServiceServer::new(keys));
    }

    /// Returns the methods that take larger messages than the server's default.
    #[must_use]
    pub fn request_limits() -> [(&'static str, usize); 2] {
        [
            (
                "/rapport.profile.v1.EventService/CollectEvents",
                REQUEST_BYTES_MAX,
            ),
            (
                "/rapport.profile.v1.EventService/StreamEvents",
                REQUEST_BYTES_MAX,
            ),
        ]
    }

    /// Returns this process's view of people.
    #[must_use]
    pub fn people(&self) -> &People {
        &self.people
    }

    /// Closes the database after the last call.
    pub async fn drain(&self) {
        self.identity.db.close().await;
    }
}
