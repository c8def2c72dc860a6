//! Databases of other versions.

use super::{World, fixtures::*};
use crate::{
    Batch, Store, StoreError, StoreUrl, Write,
    engine::{Engine, Flush},
    migrate,
    statement::Statement,
    write,
};

async fn statement(store: &Store, sql: impl Into<std::borrow::Cow<'static, str>>) {
    store
        .execute(Statement::read(sql, "test"))
        .await
        .expect("carried out");
}

/// A second, empty database of the same engine.
async fn older(world: &World, version: i64) -> Option<(StoreUrl, Store)> {
    let url = match &world.url {
        StoreUrl::SqliteInMemory => return None,
        StoreUrl::Sqlite { .. } => StoreUrl::Sqlite {
            path: world.folder.path().join(format!("older{version}.db")),
        },
        StoreUrl::Postgres { url } => {
            let sql = format!("CREATE DATABASE older{version}");
            statement(&world.store, sql).await;
            // The database's name stands between the last slash before `?` and it.
            let (start, host) = url.split_once('?').expect("a host");
            let (start, _) = start.rsplit_once('/').expect("a name");
            StoreUrl::Postgres {
                url: format!("{start}/older{version}?{host}"),
            }
        }
    };
    let store = Store::open_at(&url, version).await.expect("it opens");
    Some((url, store))
}

pub(super) async fn older_data_is_brought_along(world: World) {
    let mut ground = ground(&world.store).await;
    for version in 1..migrate::newest() {
        let Some((url, old)) = older(&world, version).await else {
            // A database in memory is never older than the program.
            return;
        };
        assert_eq!(old.schema_version().await.expect("read"), version);
        // What version 1 knew: nouns without an audit log.
        let site = site("old");
        let kind = machine_type("old");
        let mut statements = Vec::new();
        for write in [
            Write::PutSite(site.clone()),
            Write::PutMachineType(kind.clone()),
        ] {
            write::put(write, true, &mut statements).expect("statements");
        }
        old.engine
            .transact(&statements, Flush::Now)
            .await
            .expect("kept");
        // A machine as it was written when its parts stood within it.
        ground.site = site.id;
        ground.machine_type = kind.name.clone();
        let mut machine = machine(&ground, 1);
        machine.addresses.clear();
        let inventory = machine.inventory.as_mut().expect("an inventory");
        inventory.system.serial = Some("SN1".into());
        machine.version = 1;
        let within = version < 8;
        let insert = Statement::new(
            "INSERT INTO machines (id, name, site, machine_type, bmc_address, lifecycle, \
             may_hold_data, cordoned, unconfirmed, wake_at, version, doc) \
             VALUES ($1, $2, $3, $4, $5, 'enrolled', 1, 0, 0, 0, 1, $6)",
            "machine",
            "old",
        );
        let insert = insert
            .bind(machine.id)
            .bind(&machine.name)
            .bind(machine.site)
            .bind(&machine.machine_type)
            .bind("https://192.0.2.1")
            .bind(serde_json::to_string(&machine).expect("JSON"));
        if within {
            old.execute(insert).await.expect("kept");
        }

        // A token as it was written before there were users and scopes.
        let token = token(None, "old");
        let doc = serde_json::json!({
            "id": token.id, "name": "old", "role": "operator", "project": null,
            "expires_at": token.expires_at, "disabled": false,
            "created_at": token.created_at, "last_used_at": null,
        });
        let insert = Statement::new(
            "INSERT INTO tokens (id, hash, doc) VALUES ($1, $2, $3)",
            "token",
            "old",
        );
        let insert = insert
            .bind(token.id)
            .bind(vec![5; 32])
            .bind(doc.to_string());
        old.execute(insert).await.expect("kept");
        old.close().await;
        drop(old);

        let new = Store::open(&url).await.expect("it is brought up to date");
        assert_eq!(new.schema_version().await.expect("read"), migrate::newest());
        assert_eq!(
            new.site(site.id).await.expect("read"),
            Some(site),
            "from version {version}"
        );
        let found = new.machine_type_by_name(&kind.name).await;
        assert_eq!(found.expect("read"), Some(kind));
        if within {
            let found = new.machine(machine.id).await.expect("read");
            assert_eq!(found.as_ref(), Some(&machine), "from version {version}");
            let filter = crate::MachineFilter::default();
            let short = new.machines_in_short(&filter, None, 10).await;
            let short = short.expect("read");
            assert_eq!(short[0].serial.as_deref(), Some("SN1"));
            assert_eq!((short[0].units, &short[0].machine.inventory), (8, &None));
        }
        let found = new.token_by_hash(&[5; 32], at(0)).await;
        assert_eq!(found.expect("read"), Some(token));
        new.commit(Batch::new().audited(row("test.later")))
            .await
            .expect("what is new works");
        assert_eq!(new.seal(at(0)).await.expect("sealed"), 1);
    }
}

pub(super) async fn a_newer_database_is_refused(world: World) {
    let future = migrate::newest() + 7;
    statement(
        &world.store,
        // 7 beyond what is known.
        "INSERT INTO schema_version (version) SELECT MAX(version) + 7 FROM schema_version",
    )
    .await;
    let refused = match &world.url {
        StoreUrl::SqliteInMemory => migrate::migrate(&world.store.engine, migrate::newest()).await,
        url => match Engine::open(url).await {
            Ok(engine) => migrate::migrate(&engine, migrate::newest()).await,
            Err(error) => Err(error),
        },
    };
    assert!(
        matches!(refused, Err(StoreError::Newer { found, known })
            if found == future && known == migrate::newest()),
        "{refused:?}"
    );
}

pub(super) async fn opening_again_changes_nothing(world: World) {
    let ground = ground(&world.store).await;
    let machine = enrolled(&world.store, &ground, 1).await;
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let url = world.url.clone();
        if url == StoreUrl::SqliteInMemory {
            return;
        }
        opening.spawn(async move { Store::open(&url).await.map(drop) });
    }
    while let Some(opened) = opening.join_next().await {
        opened.expect("it ends").expect("it opens");
    }
    let again = world.again().await.expect("not in memory");
    let found = again.machine(machine.id).await.expect("read");
    assert_eq!(found, Some(machine));
}
