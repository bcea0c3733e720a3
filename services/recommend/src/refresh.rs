//! Keeps the serving snapshot fresh: follows the catalogue's version, the newest model and the
//! popularity counts, rebuilds off the hot path and swaps the whole.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rapport_flow::{Progress, Running, StateError, States};
use rapport_store::Db;
use rapport_store::objects::{ObjectError, ObjectStore};
use rapport_telemetry::names::RECOMMEND_SNAPSHOT_DURATION;
use rapport_types::{PARTITIONS, UnixMillis};
use recommend_domain::{Item, MODEL_BYTES_MAX, Popularity, TrainedModels};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::projection::ItemPopularity;
use crate::serving::{Counted, LoadedModel, Serving, Shelf};
use crate::store::item;
use crate::store::model::{self, ModelRow};

/// How often the database is asked what other replicas wrote.
const POLL: Duration = Duration::from_secs(1);
/// The pause between two counts of popularity, in memory and from a store that replicas share.
const COUNT_PAUSE_IN_MEMORY: Duration = Duration::from_secs(1);
const COUNT_PAUSE_STORED: Duration = Duration::from_secs(10);
/// Counting takes at most this share of one core: one part in so many.
const COUNT_SHARE: u32 = 20;
/// Items read from the database at once.
const PAGE_MAX: u32 = 1_000;
/// Models that are kept, and tried at start, newest first.
pub const MODELS_KEPT: u32 = 4;
/// Longest wait of a writer until its write is served here.
const OWN_WRITE_WAIT_MAX: Duration = Duration::from_secs(2);

/// What the snapshot holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// The catalogue's version.
    pub catalogue_version: i64,
    /// The newest model in the database, whether or not its file could be read.
    pub newest_model: Option<(i64, UnixMillis)>,
}

/// The way to the refresher. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Refresh {
    wake: Arc<Notify>,
    served: watch::Receiver<Served>,
}

impl Refresh {
    /// Asks for a refresh now, and waits until `done` holds, two seconds at most: a caller sees its own
    /// write, yet never hangs on it.
    pub async fn until(&self, done: impl FnMut(&Served) -> bool) {
        self.wake.notify_one();
        let mut served = self.served.clone();
        if timeout(OWN_WRITE_WAIT_MAX, served.wait_for(done))
            .await
            .is_err()
        {
            tracing::debug!("a write is not served yet");
        }
    }

    /// Returns what the snapshot holds.
    #[must_use]
    pub fn served(&self) -> Served {
        *self.served.borrow()
    }
}

/// The refresher: one task, the only writer of the snapshot.
#[derive(Debug)]
pub struct Refresher {
    db: Db,
    objects: ObjectStore,
    popularity: States<ItemPopularity>,
    /// Whose movement says that counting again is worth it; `None` when other replicas count too.
    progress: Option<Progress>,
    serving: Arc<ArcSwap<Serving>>,
    wake: Arc<Notify>,
    served: watch::Sender<Served>,
    listed: Arc<BTreeMap<String, Item>>,
    model: Option<Arc<LoadedModel>>,
    refused: HashSet<i64>,
    counted: Arc<Counted>,
    counted_at: u64,
    count_next: Instant,
    /// What was read and is not yet in the snapshot.
    shelf_due: bool,
    build_due: bool,
}

impl Refresher {
    /// Returns a refresher that has done nothing yet, and the way to it.
    #[must_use]
    pub fn new(
        db: &Db,
        objects: &ObjectStore,
        popularity: &Running<ItemPopularity>,
        serving: &Arc<ArcSwap<Serving>>,
    ) -> (Self, Refresh) {
        let (served, receiver) = watch::channel(Served::default());
        let wake = Arc::new(Notify::new());
        let refresh = Refresh {
            wake: Arc::clone(&wake),
            served: receiver,
        };
        let refresher = Self {
            db: db.clone(),
            objects: objects.clone(),
            popularity: popularity.states(),
            progress: matches!(db, Db::Sqlite(_)).then(|| popularity.progress()),
            serving: Arc::clone(serving),
            wake,
            served,
            listed: Arc::default(),
            model: None,
            refused: HashSet::new(),
            counted: Arc::default(),
            counted_at: u64::MAX,
            count_next: Instant::now(),
            shelf_due: false,
            build_due: false,
        };
        (refresher, refresh)
    }

    /// Refreshes whenever something may have changed, until `stop` is cancelled. What fails is tried
    /// again; the last good snapshot serves on.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
                () = self.wake.notified() => {}
            }
            if let Err(error) = self.refresh().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "serving what is old"
                );
            }
        }
    }

    /// Reads what changed and swaps a new snapshot in, if anything did.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Away`]: the snapshot is as it was.
    pub async fn refresh(&mut self) -> Result<(), Error> {
        let mut served = *self.served.borrow();
        self.shelf_due |= self.read_catalogue(&mut served).await?;
        self.shelf_due |= self.read_model(&mut served).await?;
        self.build_due |= self.count().await?;
        if self.shelf_due || self.build_due {
            self.build(self.shelf_due).await?;
            (self.shelf_due, self.build_due) = (false, false);
        }
        self.served.send_replace(served);
        Ok(())
    }

    async fn read_catalogue(&mut self, served: &mut Served) -> Result<bool, Error> {
        let version = item::version(&self.db).await?;
        if version == served.catalogue_version {
            return Ok(false);
        }
        // Strictly after the last version that was read whole; versions commit in their order.
        let mut after = (served.catalogue_version + 1, String::new());
        let mut changed = Vec::new();
        loop {
            let page = item::changed(&self.db, (after.0, &after.1), PAGE_MAX).await?;
            changed.extend(page.items);
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        let listed = Arc::make_mut(&mut self.listed);
        listed.extend(changed.into_iter().map(|item| (item.id.clone(), item)));
        // A later version may have been read too; reading its rows again changes nothing.
        served.catalogue_version = version;
        Ok(true)
    }

    async fn read_model(&mut self, served: &mut Served) -> Result<bool, Error> {
        let rows = model::newest(&self.db, MODELS_KEPT).await?;
        served.newest_model = rows.first().map(|row| (row.version, row.trained_at));
        let loaded = self.model.as_ref().map_or(0, |model| model.row.version);
        for row in rows.into_iter().take_while(|row| row.version > loaded) {
            if self.refused.contains(&row.version) {
                continue;
            }
            let version = row.version;
            match load(&self.objects, row).await? {
                Some(model) => {
                    self.model = Some(Arc::new(model));
                    return Ok(true);
                }
                None => {
                    self.refused.insert(version);
                }
            }
        }
        Ok(false)
    }

    /// Adds all partial counts up, when anything may have changed and the last count is old enough.
    async fn count(&mut self) -> Result<bool, Error> {
        let started = Instant::now();
        let moved = self.progress.as_ref().map(applied);
        if started < self.count_next || moved == Some(self.counted_at) {
            return Ok(false);
        }
        let counted = sum(&self.popularity)
            .await
            .map_err(|error| Error::Away(Box::new(error)))?;
        self.counted = Arc::new(counted);
        self.counted_at = moved.unwrap_or(u64::MAX);
        let pause = match self.progress {
            Some(_) => COUNT_PAUSE_IN_MEMORY,
            None => COUNT_PAUSE_STORED,
        };
        let took = started.elapsed();
        self.count_next = Instant::now() + pause.max(took * COUNT_SHARE);
        Ok(true)
    }

    async fn build(&self, shelf_changed: bool) -> Result<(), Error> {
        let started = Instant::now();
        let (listed, model) = (Arc::clone(&self.listed), self.model.clone());
        let (counted, old) = (Arc::clone(&self.counted), self.serving.load_full());
        let built = tokio::task::spawn_blocking(move || {
            let shelf = if shelf_changed || old.shelf.misses(&counted) {
                Arc::new(Shelf::build(&listed, model.as_deref(), &counted))
            } else {
                Arc::clone(&old.shelf)
            };
            Serving::build(shelf, &counted)
        });
        let built = built.await;
        let built = built.map_err(|_panicked| Error::Internal("a snapshot could not be built"))?;
        self.serving.store(Arc::new(built));
        RECOMMEND_SNAPSHOT_DURATION.observe(started.elapsed().as_secs_f64(), &[]);
        Ok(())
    }
}

/// Returns how many sequences a projection has applied here, all partitions together.
#[must_use]
pub fn applied(progress: &Progress) -> u64 {
    (0..PARTITIONS)
        .map(|partition| progress.sequence(partition))
        .sum()
}

async fn sum(states: &States<ItemPopularity>) -> Result<Counted, StateError> {
    let mut counted = Counted {
        counts: Popularity::default(),
        ..Counted::default()
    };
    for partition in 0..PARTITIONS {
        let Counted { items, counts } = &mut counted;
        let add = |key: &[u8], state: &crate::projection::popularity::Counts| {
            let id = std::str::from_utf8(key).unwrap_or_default();
            // The projection only keeps ids that name items; a full table counts no more.
            if let Ok(item) = items.intern(id) {
                state.add_to(counts, item);
            }
        };
        states.for_each(partition, add).await?;
    }
    Ok(counted)
}

/// Reads a model's file. `None` for one that is gone or damaged, which is said once: an older model
/// or popularity serves on.
///
/// # Errors
/// [`Error::Away`] when the directory cannot be read now.
pub async fn load(objects: &ObjectStore, row: ModelRow) -> Result<Option<LoadedModel>, Error> {
    let object = row.object();
    let file = match objects.get(&object, MODEL_BYTES_MAX as u64).await {
        Ok(Some(file)) => file,
        Ok(None) | Err(ObjectError::TooLarge { .. }) => {
            tracing::error!(
                object,
                "a model's file is gone or too large: it is not served"
            );
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let read = tokio::task::spawn_blocking(move || TrainedModels::from_bytes(&file)).await;
    match read.map_err(|_panicked| Error::Internal("a model could not be read"))? {
        Ok(trained) => {
            tracing::info!(object, items = trained.items.len(), "model loaded");
            Ok(Some(LoadedModel { row, trained }))
        }
        Err(why) => {
            tracing::error!(object, %why, "a model's file is damaged: it is not served");
            Ok(None)
        }
    }
}
