//! Whose turn it is to have an image taken in: so many at a time, and of one project
//! fewer, so that a tenant whose bytes come slowly keeps nobody else waiting.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use billet_model::ProjectId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lock;

/// Images taken in at a time; others wait.
const AT_A_TIME: usize = 8;
/// Of one project. The operator's own are as many as there is room for.
const OF_A_PROJECT: usize = 2;

/// Gives turns.
pub(super) struct Turns {
    all: Arc<Semaphore>,
    projects: Mutex<HashMap<ProjectId, Arc<Semaphore>>>,
}

/// A turn, until it is dropped.
pub(super) struct Turn {
    _project: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(AT_A_TIME)),
            projects: Mutex::default(),
        }
    }

    /// Waits for a turn of a project, or (`None`) of the operator.
    pub(super) async fn turn(&self, project: Option<ProjectId>) -> Turn {
        // Its own first: who waits for that takes no room from others.
        let project = match project {
            Some(project) => self.of(project).acquire_owned().await.ok(),
            None => None,
        };
        Turn {
            _project: project,
            _all: self.all.clone().acquire_owned().await.ok(),
        }
    }

    fn of(&self, project: ProjectId) -> Arc<Semaphore> {
        let mut projects = lock(&self.projects);
        // Who has a turn, or waits for one, holds it too.
        projects.retain(|_, turns| Arc::strong_count(turns) > 1);
        let new = || Arc::new(Semaphore::new(OF_A_PROJECT));
        projects.entry(project).or_insert_with(new).clone()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_project_leaves_room_for_others() {
        let turns = Turns::new();
        let project = |n: u8| Some(ProjectId::from_parts(u64::from(n), [n; 10]));
        let now = |project| turns.turn(project).now_or_never();
        let mut first: Vec<Turn> = (0..OF_A_PROJECT).filter_map(|_| now(project(1))).collect();
        assert_eq!(first.len(), OF_A_PROJECT);
        assert!(now(project(1)).is_none(), "a third of the same");
        let others: Vec<Turn> = (OF_A_PROJECT..AT_A_TIME)
            .filter_map(|_| now(None))
            .collect();
        assert_eq!(others.len(), AT_A_TIME - OF_A_PROJECT);
        assert!(
            now(None).is_none() && now(project(2)).is_none(),
            "all taken"
        );
        first.pop();
        assert!(now(project(1)).is_some());
        drop((first, others));
        assert!(now(project(2)).is_some());
        assert_eq!(lock(&turns.projects).len(), 1, "none is kept for ever");
    }
}
