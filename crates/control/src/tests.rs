//! A control plane with one machine in it, for tests of what it is told.

use billet_model::{
    BootId, MachineId, OperationId, Secret, TaskId,
    api::{NewBmc, NewMachine},
    machine::Machine,
    operation::Operation,
    people::Actor,
    site::{MachineType, Site},
    step::{Boot, BootOf, Step, TaskRecord},
    work::{Task, Work, WorkKind},
};
use billet_store::{Batch, Write};

use crate::{Control, Settings};

/// The control plane, its machine and the operation that is at work on it.
pub(crate) struct Place {
    pub control: Control,
    machine: MachineId,
    operation: OperationId,
    _directory: tempfile::TempDir,
}

impl Place {
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ramdisk = directory.path().join("ramdisk.efi");
        std::fs::write(&ramdisk, vec![0x5a; 100_000]).expect("a ramdisk");
        let settings = Settings {
            data: directory.path().join("data"),
            keys: directory.path().join("keys"),
            database: None,
            servers: vec!["https://127.0.0.1:8443".into()],
            media_base: "https://127.0.0.1:8443".into(),
            ramdisk: Some(ramdisk),
            stub: "stub".into(),
            ipxe: None,
            authority: String::new(),
            policy: Default::default(),
        };
        let control = Control::open(settings).await.expect("it opens");
        let name = |text: &str| text.parse().expect("a name");
        let site = Site {
            id: control.new_id(),
            name: name("here"),
            jurisdiction: "DE".into(),
            created_at: control.now(),
        };
        let machine_type = MachineType {
            id: control.new_id(),
            name: name("box"),
            description: String::new(),
            expected: Default::default(),
            warm: Default::default(),
            created_at: control.now(),
        };
        let row = control.audit_row(&Actor::Billet, "test", serde_json::json!({}));
        let ground = Batch::new()
            .with(Write::PutSite(site))
            .with(Write::PutMachineType(machine_type))
            .audited(row);
        control.commit(ground).await.expect("the ground is laid");
        let new = NewMachine {
            name: name("m1"),
            site: name("here"),
            rack: None,
            machine_type: name("box"),
            serial: None,
            networks: Default::default(),
            bmc: NewBmc {
                address: "https://192.0.2.1".into(),
                user: "root".into(),
                password: Secret::new("x".to_owned()),
                fingerprint: None,
            },
            rotate_password: false,
        };
        let enrolled = control.enroll(&Actor::Billet, new).await;
        let (machine, operation) = enrolled.unwrap_or_else(|e| panic!("{}", e.detail));
        Self {
            control,
            machine: machine.id,
            operation: operation.id,
            _directory: directory,
        }
    }

    pub async fn machine(&self) -> Machine {
        let read = self.control.store().machine(self.machine).await;
        read.expect("the store").expect("the machine")
    }

    /// Its machine's agent at work: its token and its task.
    pub async fn at_work(&self) -> (String, TaskId) {
        let core = &self.control;
        let mut machine = self.machine().await;
        let (id, task): (BootId, TaskId) = (core.new_id(), core.new_id());
        machine.step = Step::Working {
            task,
            kind: WorkKind::Inspect,
            boot: id,
        };
        let boot = Boot {
            id,
            machine: machine.id,
            of: BootOf::Ramdisk,
            epoch: machine.epoch,
            created_at: core.now(),
            kernel_boot_id: None,
            hello_at: None,
            seen_at: None,
            ramdisk: None,
        };
        let record = TaskRecord {
            task: Task {
                id: task,
                epoch: machine.epoch,
                work: Work::Inspect,
                addresses: Vec::new(),
            },
            machine: machine.id,
            boot: id,
            created_at: core.now(),
            taken_at: None,
            progress: None,
            progress_at: None,
            outcome: None,
            version: 0,
        };
        let batch = Batch::new()
            .with(Write::PutMachine(Box::new(machine)))
            .with(Write::PutBoot(Box::new(boot)))
            .with(Write::PutTask(Box::new(record)));
        core.commit(batch).await.expect("it is at work");
        (core.keys.boot_token(id).expose().to_owned(), task)
    }

    pub async fn operation(&self) -> Operation {
        let read = self.control.store().operation(self.operation).await;
        read.expect("the store").expect("the operation")
    }
}
