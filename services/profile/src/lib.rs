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
pub mod profiles;
pub mod projection;
pub mod seal;
mod start;
pub mod store;
pub mod subjects;
pub mod value;

use std::sync::Arc;

use rapport_api::profile::v1::consent_service_server::ConsentServiceServer;
use rapport_api::profile::v1::key_service_server::KeyServiceServer;
use rapport_api::profile::v1::model_service_server::ModelServiceServer;
use rapport_api::profile::v1::profile_service_server::ProfileServiceServer;
use rapport_api::profile::v1::reader_service_server::ReaderServiceServer;
use rapport_api::profile::v1::subject_service_server::SubjectServiceServer;
use rapport_flow::People;
use tonic::service::RoutesBuilder;

use grpc::consent::ConsentApi;
use grpc::event::{EventApi, REQUEST_BYTES_MAX};
use grpc::key::KeyApi;
use grpc::model::ModelApi;
use grpc::profile::ProfileApi;
use grpc::reader::ReaderApi;
use grpc::subject::SubjectApi;
use grpc::tail::EventServer;
use identity::Identity;
use profiles::ProfileReader;
use start::Background;
use value::Trainer;

pub use start::{POSTGRES, PROJECTION_SQLITE, SQLITE, StartError};

/// Profile, running: mount it on a server, then drain it.
#[derive(Debug)]
pub struct Profile {
    events: EventApi,
    identity: Identity,
    reader: ProfileReader,
    trainer: Trainer,
    background: Background,
}

impl Profile {
    /// Full names of the services, for health. The first stands for the whole.
    pub const SERVICES: [&'static str; 7] = [
        "rapport.profile.v1.ProfileService",
        "rapport.profile.v1.EventService",
        "rapport.profile.v1.SubjectService",
        "rapport.profile.v1.ConsentService",
        "rapport.profile.v1.KeyService",
        "rapport.profile.v1.ReaderService",
        "rapport.profile.v1.ModelService",
    ];

    /// Adds profile's services to a server's routes.
    pub fn mount(&self, routes: &mut RoutesBuilder) {
        let identity = || self.identity.clone();
        let keys = KeyApi {
            subjects: self.identity.subjects.clone(),
            people: self.identity.people.clone(),
        };
        let readers = ReaderApi {
            db: self.identity.db.clone(),
            clock: Arc::clone(&self.identity.clock),
        };
        let profiles = ProfileApi {
            reader: self.reader.clone(),
        };
        let models = ModelApi {
            trainer: self.trainer.clone(),
            models: self.reader.models.clone(),
        };
        routes
            .add_service(EventServer::new(self.events.clone()))
            .add_service(SubjectServiceServer::new(SubjectApi {
                identity: identity(),
            }))
            .add_service(ConsentServiceServer::new(ConsentApi {
                identity: identity(),
            }))
            .add_service(KeyServiceServer::new(keys))
            .add_service(ReaderServiceServer::new(readers))
            .add_service(ModelServiceServer::new(models))
            .add_service(ProfileServiceServer::new(profiles));
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
        &self.identity.people
    }

    /// Returns the reader of profiles, and how far they are.
    #[must_use]
    pub fn reader(&self) -> &ProfileReader {
        &self.reader
    }

    /// Writes what is only in memory and closes the databases: after the last call.
    pub async fn drain(&self) {
        self.background.stop().await;
        self.identity.db.close().await;
    }
}
