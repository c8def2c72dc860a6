//! One suite of checks, run on each engine: SQLite in memory, SQLite in a file,
//! and a PostgreSQL that is started here.

mod backup;
mod calls;
mod crash;
mod fixtures;
mod migrations;
mod nouns;
mod paging;
mod postgres;
mod property;
mod quotas;
mod races;
mod recorded;
mod rules;
mod sealing;
mod tls;
mod users;
mod webhooks;
mod work;

use crate::{EngineKind, Store, StoreUrl};

/// A fresh database of some engine.
pub(crate) struct World {
    pub url: StoreUrl,
    pub store: Store,
    /// A folder for the check's own files.
    pub folder: tempfile::TempDir,
}

impl World {
    async fn new(url: StoreUrl, folder: tempfile::TempDir) -> Self {
        let store = Store::open(&url).await.expect("the store opens");
        Self { url, store, folder }
    }

    /// The same database opened once more; `None` in memory, where there is no once more.
    async fn again(&self) -> Option<Store> {
        match self.url {
            StoreUrl::SqliteInMemory => None,
            _ => Some(Store::open(&self.url).await.expect("it opens again")),
        }
    }

    fn is_postgres(&self) -> bool {
        self.store.engine() == EngineKind::Postgres
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

macro_rules! suite {
    ($($module:ident: $($check:ident)*;)*) => {
        mod in_memory {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let url = super::StoreUrl::SqliteInMemory;
                super::$module::$check(super::World::new(url, super::folder()).await).await;
            })*)*
        }

        mod in_a_file {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let folder = super::folder();
                let path = folder.path().join("billet store % ä?.db");
                let url = super::StoreUrl::Sqlite { path };
                super::$module::$check(super::World::new(url, folder).await).await;
            })*)*
        }

        /// All checks on one server: it is started once, and stopped at the end.
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn in_postgresql() {
            let Some(server) = postgres::Server::start() else { return };
            $($({
                let name = concat!(stringify!($module), "_", stringify!($check));
                let url = StoreUrl::Postgres { url: server.database(name) };
                let world = World::new(url, folder()).await;
                // In a task of its own, so that a panic can be told with its check's name.
                let ran = tokio::spawn($module::$check(world)).await;
                assert!(ran.is_ok(), "in PostgreSQL: {name} failed");
            })*)*
        }
    };
}

suite! {
    nouns: machines_round_trip parts_stay_as_they_are leases_round_trip work_round_trips people_round_trip
        places_round_trip images_round_trip evidence_round_trips secrets_and_settings_round_trip;
    rules: never_available_while_it_may_hold_data machines_are_unique addresses_are_unique
        live_leases_names_are_unique images_names_are_unique other_names_are_unique
        what_is_named_exists what_lives_keeps_what_it_needs the_audit_log_only_grows
        stale_versions_conflict networks_stay_around_their_addresses one_holder;
    recorded: changes_need_an_audit_row progress_needs_none machines_change_on_record;
    users: users_and_groups_round_trip rights_are_the_union secrets_are_changed;
    quotas: quotas_are_kept;
    races: one_hold_wins updates_are_not_lost one_claim_wins sealers_do_not_collide;
    crash: a_dropped_transaction_leaves_nothing a_commit_dropped_anywhere_is_whole
        readings_are_kept_and_what_follows_is_flushed;
    migrations: older_data_is_brought_along a_newer_database_is_refused opening_again_changes_nothing;
    sealing: rows_are_sealed_and_proved a_slice_is_proved unsealable_rows_are_refused;
    paging: pages_are_stable filters_choose;
    work: due_machines_come_in_order claims_pass_on offers_are_counted endings_are_found;
    webhooks: webhooks_are_kept_and_claimed;
    calls: calls_are_kept_for_a_while;
    backup: a_backup_opens_and_is_held;
    property: batches_are_all_or_nothing;
}
