//! A Postgres database per service and a Redis, in place of files and memory.

use rapport_cache::testing::OwnRedis;
use rapport_store::testing::{Engine, TestDb};
use rapport_stories::{Hit, Launch, SERVICES, scan_postgres, scan_redis};

/// What the five processes of one life share with nobody.
pub(crate) struct Servers {
    databases: Vec<(&'static str, TestDb)>,
    redis: OwnRedis,
}

/// What a search of everything found, and how much it looked at.
#[derive(Debug)]
pub(crate) struct Searched {
    pub(crate) hits: Vec<Hit>,
    pub(crate) rows: usize,
    pub(crate) keys: usize,
}

impl Servers {
    pub(crate) async fn start() -> Self {
        let mut databases = Vec::new();
        for name in SERVICES {
            databases.push((name, TestDb::create(Engine::Postgres).await));
        }
        let redis = OwnRedis::start();
        Self { databases, redis }
    }

    /// Points a service that is about to start at its database and at Redis.
    pub(super) fn lend(&self, name: &str, launch: Launch) -> Launch {
        let prefix = name.to_uppercase();
        launch
            .env(&format!("{prefix}_DATABASE_URL"), self.database_url(name))
            .env(&format!("{prefix}_REDIS_URL"), self.redis.url())
    }

    /// Returns where a Redis command of the test's own goes.
    pub(crate) fn redis_url(&self) -> String {
        self.redis.url()
    }

    /// Returns the database of a service.
    pub(crate) fn database_url(&self, name: &str) -> &str {
        let own = |(owner, _): &&(&str, TestDb)| *owner == name;
        self.databases.iter().find(own).unwrap().1.url()
    }

    /// Searches every row and every key.
    pub(crate) async fn search(&self, canaries: &[&str]) -> Searched {
        let (mut hits, keys) = scan_redis(&self.redis.url(), canaries);
        let mut rows = 0;
        for (_, database) in &self.databases {
            let (found, searched) = scan_postgres(database.url(), canaries).await;
            hits.extend(found);
            rows += searched;
        }
        Searched { hits, rows, keys }
    }
}
