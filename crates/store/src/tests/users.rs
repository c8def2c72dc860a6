//! Users, groups, and what they may; secrets that are changed.

use billet_model::people::{Grant, Group, Role, Token, User, UserKind};

use super::{World, fixtures::*};
use crate::{StoreError, Write};

fn user(called: &str) -> User {
    User {
        id: new_id!(UserId),
        name: name(called),
        kind: UserKind::Person,
        owner: None,
        expires_at: None,
        disabled: false,
        created_at: at(1),
    }
}

fn group(called: &str) -> Group {
    Group {
        id: new_id!(GroupId),
        name: name(called),
        members: Vec::new(),
        grants: Vec::new(),
        created_at: at(1),
    }
}

fn everywhere(role: Role) -> Grant {
    Grant {
        role,
        organisation: None,
        project: None,
    }
}

pub(super) async fn users_and_groups_round_trip(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let (alice, mut robot) = (user("alice"), user("robot"));
    robot.kind = UserKind::Service;
    robot.owner = Some(alice.id);
    for user in [&alice, &robot] {
        let write = Write::PutUser(user.clone());
        store.commit(put(write)).await.expect("made");
    }
    let again = store.commit(put(Write::PutUser(user("alice")))).await;
    assert!(
        matches!(again, Err(StoreError::Duplicate { .. })),
        "{again:?}"
    );
    let read = store.user_by_name(&name("robot")).await.expect("read");
    assert_eq!(read, Some(robot.clone()));
    assert_eq!(store.users(Some(alice.id), 9).await.expect("read").len(), 1);

    let mut team = group("team");
    let in_project = Grant {
        project: Some(ground.project),
        ..everywhere(Role::Member)
    };
    let in_all = Grant {
        organisation: Some(ground.organisation),
        ..everywhere(Role::Auditor)
    };
    let (group, user) = (team.id, alice.id);
    let mut batch = put(Write::PutGroup(team.clone()));
    for _ in 0..2 {
        // Twice is no error.
        batch = batch
            .with(Write::AddMember { group, user })
            .with(Write::AddGrant {
                group,
                grant: in_project,
            })
            .with(Write::AddGrant {
                group,
                grant: in_all,
            });
    }
    store.commit(batch).await.expect("made");
    team.members = vec![user];
    team.grants = vec![in_all, in_project];
    assert_eq!(store.group(group).await.expect("read"), Some(team.clone()));
    let by_name = store.group_by_name(&team.name).await.expect("read");
    assert_eq!(by_name, Some(team.clone()));
    // Its name changes without its members.
    team.name = name("crew");
    store
        .commit(put(Write::PutGroup(team.clone())))
        .await
        .expect("renamed");
    assert_eq!(store.groups(None, 9).await.expect("read"), vec![team]);

    // The owner of a service account stays as long as that does.
    let refused = store.commit(put(Write::DeleteUser(alice.id))).await;
    assert!(
        matches!(refused, Err(StoreError::Referenced { .. })),
        "{refused:?}"
    );
    store
        .commit(put(Write::DeleteUser(robot.id)))
        .await
        .expect("gone");
    store
        .commit(put(Write::DeleteUser(alice.id)))
        .await
        .expect("gone");
    let left = store.group(group).await.expect("read").expect("there");
    assert_eq!(left.members, []);
    store
        .commit(put(Write::DeleteGroup(group)))
        .await
        .expect("gone");
    let gone = store.commit(put(Write::DeleteGroup(group))).await;
    assert!(matches!(gone, Err(StoreError::NotFound { .. })), "{gone:?}");
}

pub(super) async fn rights_are_the_union(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let alice = user("alice");
    let (one, two) = (group("one"), group("two"));
    let batch = put(Write::PutUser(alice.clone()))
        .with(Write::PutGroup(one.clone()))
        .with(Write::PutGroup(two.clone()))
        .with(Write::AddMember {
            group: one.id,
            user: alice.id,
        })
        .with(Write::AddGrant {
            group: one.id,
            grant: Grant {
                project: Some(ground.project),
                ..everywhere(Role::Member)
            },
        })
        .with(Write::AddGrant {
            group: two.id,
            grant: Grant {
                organisation: Some(ground.organisation),
                ..everywhere(Role::Auditor)
            },
        });
    store.commit(batch).await.expect("made");
    let rights = async || store.rights_of(alice.id).await.expect("read");
    assert_eq!(rights().await, [(Role::Member, Some(ground.project))]);

    let join = Write::AddMember {
        group: two.id,
        user: alice.id,
    };
    store.commit(put(join)).await.expect("joined");
    let mut wanted = vec![
        (Role::Auditor, Some(ground.project)),
        (Role::Member, Some(ground.project)),
        (Role::Auditor, Some(ground.other_project)),
    ];
    assert_eq!(rights().await, wanted);
    // A project that comes to the organisation comes to its auditors.
    let third = project(ground.organisation, "third");
    store
        .commit(put(Write::PutProject(third.clone())))
        .await
        .expect("made");
    wanted.push((Role::Auditor, Some(third.id)));
    assert_eq!(rights().await, wanted);
    store
        .commit(put(Write::DeleteProject(third.id)))
        .await
        .expect("gone");

    // An organisation without projects gives nothing, above all not everything.
    let leave = Write::RemoveMember {
        group: one.id,
        user: alice.id,
    };
    let empty = billet_model::people::Organisation {
        id: new_id!(OrganisationId),
        name: name("empty"),
        created_at: at(0),
    };
    let revoke = Grant {
        organisation: Some(ground.organisation),
        ..everywhere(Role::Auditor)
    };
    let give = Grant {
        organisation: Some(empty.id),
        ..everywhere(Role::Auditor)
    };
    let batch = put(leave)
        .with(Write::PutOrganisation(empty.clone()))
        .with(Write::RemoveGrant {
            group: two.id,
            grant: revoke,
        })
        .with(Write::AddGrant {
            group: two.id,
            grant: give,
        });
    store.commit(batch).await.expect("changed");
    assert_eq!(rights().await, []);
    // And what goes takes its grants with it.
    store
        .commit(put(Write::DeleteOrganisation(empty.id)))
        .await
        .expect("gone");
    let left = store.group(two.id).await.expect("read").expect("there");
    assert_eq!(left.grants, []);

    let give = Write::AddGrant {
        group: two.id,
        grant: everywhere(Role::Operator),
    };
    store.commit(put(give)).await.expect("given");
    assert_eq!(rights().await, [(Role::Operator, None)]);
}

pub(super) async fn secrets_are_changed(world: World) {
    let store = &world.store;
    ground(store).await;
    let alice = user("alice");
    let made = Token {
        user: Some(alice.id),
        role: None,
        ..token(None, "mine")
    };
    let batch = put(Write::PutUser(alice.clone())).with(Write::PutToken {
        token: made.clone(),
        hash: Some([1; 32]),
    });
    store.commit(batch).await.expect("made");
    let rotate = async |hash, old_until| {
        let token = Token {
            rotated_at: Some(at(9)),
            ..made.clone()
        };
        let write = Write::RotateToken {
            token,
            hash,
            old_until,
        };
        store.commit(put(write)).await
    };
    let finds = async |hash, now| {
        let found = store.token_by_hash(&[hash; 32], at(now)).await;
        found.expect("read").is_some()
    };
    rotate([2; 32], Some(at(20))).await.expect("changed");
    assert!(finds(1, 19).await && finds(2, 19).await && finds(2, 21).await);
    assert!(!finds(1, 20).await && !finds(1, 21).await);
    rotate([3; 32], None).await.expect("changed");
    assert!(!finds(1, 0).await && !finds(2, 0).await && finds(3, 0).await);
    // Who read it before it was disabled does not enable it.
    let change = Write::PutToken {
        token: Token {
            disabled: true,
            ..made.clone()
        },
        hash: None,
    };
    store.commit(put(change)).await.expect("disabled");
    rotate([4; 32], None).await.expect("changed");
    let found = store.token(made.id).await.expect("read").expect("there");
    assert!(found.disabled);
    let rotated = found.rotated_at.expect("it was rotated");
    assert_eq!(rotated.as_microsecond(), at(9).as_microsecond());
    rotate([3; 32], None).await.expect("changed");
    // No secret is two tokens'.
    let taken = rotate([9; 32], None).await;
    assert!(
        matches!(taken, Err(StoreError::Duplicate { .. })),
        "{taken:?}"
    );
    assert!(finds(3, 0).await);
    // A user's tokens go with it.
    store
        .commit(put(Write::DeleteUser(alice.id)))
        .await
        .expect("gone");
    assert!(!finds(3, 0).await);
}
