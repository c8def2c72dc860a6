//! `billet apply`: bringing about what a file says.

use std::{
    collections::BTreeSet,
    io::IsTerminal,
    path::{Path, PathBuf},
    time::Duration,
};

use billet_client::Client;
use billet_model::{
    OperationId,
    api::{ImageStarted, MachineView},
    image::ImageState,
    lifecycle::Lifecycle,
};
use clap::Args;
use serde::Serialize;

use super::{ask, enroll, image, install_config};
use crate::{
    app::App,
    failure::Failure,
    human,
    manifest::Manifest,
    output::Format,
    plan::{self, Action, Item, Plan, Present, Step},
    progress,
};

/// How often it is looked whether an image was taken in.
const LOOK: Duration = Duration::from_millis(500);

/// Bring about what a file says: projects, images, machine types, machines, leases.
///
/// The file is checked whole, and compared with what there is; the plan is shown, and a yes wanted.
/// Nothing that the file does not have is touched. Given again it does what is left to do, and
/// nothing where all is as the file says; a run that was killed goes on the same way.
///
/// Machines are enrolled, and taken over only where the file names each of their drives by its
/// serial. What erases, taking over and writing a lease's drive anew, wants a yes of its own: --yes
/// does not give it, --erase does.
///
/// With --dry-run it ends with 0 where there is nothing to do, with 2 where there is, and with 1
/// where the file is wrong. See `billet help manifest`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet apply -f site.toml --dry-run
  billet apply -f site.toml
  billet apply -f site.toml --yes --erase -o json")]
pub struct Apply {
    /// The manifest.
    #[arg(short, long, value_name = "MANIFEST")]
    file: PathBuf,
    /// Show the plan, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask, unless something is erased.
    #[arg(long, short)]
    yes: bool,
    /// Do not ask before something is erased.
    #[arg(long)]
    erase: bool,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Report<'p> {
    /// Whether it was carried out.
    applied: bool,
    /// The plan.
    plan: &'p [Item],
}

impl Apply {
    /// Applies.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let planned = self.plan(app).await;
        let (client, plan) = match planned {
            // 2 means here that there is something to do.
            Err(failure) if self.dry_run && failure.code == 2 => {
                return Err(Failure { code: 1, ..failure });
            }
            other => other?,
        };
        let json = app.output.format == Format::Json;
        let told = |applied: bool| {
            let report = Report {
                applied,
                plan: &plan.items,
            };
            app.output.result(&report, |_| shown(&plan, colours()))
        };
        if self.dry_run {
            told(false)?;
            return match plan.is_empty() {
                true => Ok(()),
                false => Err(Failure::silent(2)),
            };
        }
        if !json || plan.is_empty() {
            told(plan.is_empty())?;
        }
        if plan.is_empty() {
            return Ok(());
        }
        let said = if plan.erases() { self.erase } else { self.yes };
        if !said {
            let (question, way) = match plan.count(Action::Erase) {
                0 => (
                    "Do this?".to_owned(),
                    "say --yes to do without the question",
                ),
                n => (
                    format!(
                        "Do this? What is under \"loses\" cannot be had back: {}.",
                        human::count(n, "such thing")
                    ),
                    "say --erase to do without the question: --yes does not answer for what erases",
                ),
            };
            if !ask::yes(&question, way)? {
                return Err(Failure::usage("that was not a yes; nothing was done"));
            }
        }
        carry_out(app, &client, &plan).await?;
        if json {
            told(true)
        } else {
            app.output.note("Done: there is what the file says.");
            Ok(())
        }
    }

    async fn plan(&self, app: &App) -> Result<(Client, Plan), Failure> {
        let manifest = enroll::read(&self.file)?;
        let client = app.client().await?;
        let present = present(&client, &manifest).await?;
        let plan = plan::plan(&manifest, &present);
        let plan = plan.map_err(|troubles| enroll::wrong(&self.file, &troubles))?;
        Ok((client, plan))
    }
}

/// What there is of what the manifest is about. What only operators may list is asked for only
/// where the manifest has it.
async fn present(client: &Client, manifest: &Manifest) -> Result<Present, Failure> {
    let mut present = Present {
        projects: client.projects(&[]).all().await?,
        quotas: client.quotas(&[]).await?.items,
        sites: client.sites().all().await?,
        machine_types: client.machine_types().all().await?,
        images: client.images(&[]).all().await?,
        leases: client.leases(&[]).all().await?,
        ..Present::default()
    };
    present.leases.retain(|lease| !lease.state.is_over());
    if !manifest.organisations.is_empty() || !manifest.projects.is_empty() {
        present.organisations = client.organisations().all().await?;
    }
    if !manifest.machines.is_empty() || !manifest.networks.is_empty() {
        present.networks = client.networks().all().await?;
        present.machines = client.machines(&[]).all().await?;
    }
    for machine in &mut present.machines {
        // Lists leave the inventory out, in which the drives are.
        if machine.lifecycle == Lifecycle::Enrolled
            && manifest.take_over.contains_key(&machine.name)
        {
            *machine = client.machine(&machine.id.to_string()).await?;
        }
    }
    Ok(present)
}

fn colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// The plan as a person reads it.
fn shown(plan: &Plan, colours: bool) -> String {
    let mut text = String::new();
    for item in &plan.items {
        let (mark, colour) = match item.action {
            Action::Create => ("+", 32),
            Action::Change => ("~", 33),
            Action::Erase => ("!", 31),
            Action::Unchanged | Action::Left => continue,
        };
        let mut lines = format!("{mark} {} {}\n", item.kind, item.name);
        for change in &item.changes {
            lines += &format!("    {}: {} -> {}\n", change.field, change.from, change.to);
        }
        if let Some(loses) = &item.loses {
            lines += &format!("    loses: {loses}\n");
        }
        if colours {
            let lines = lines.trim_end();
            text += &format!("\x1b[{colour}m{lines}\x1b[0m\n");
        } else {
            text += &lines;
        }
    }
    let left: Vec<String> = plan
        .items
        .iter()
        .filter(|item| item.action == Action::Left)
        .map(|item| format!("{} {}", item.kind, item.name))
        .collect();
    if !left.is_empty() {
        const MOST: usize = 12;
        let more = left.len().saturating_sub(MOST);
        let named = left.into_iter().take(MOST).collect::<Vec<_>>().join(", ");
        let more = match more {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        text += &format!("Not in the file, and left alone: {named}{more}.\n");
    }
    let count = |action| plan.count(action);
    text + &format!(
        "Plan: {} to create, {} to change, {} to erase, {} as the file says.\n",
        count(Action::Create),
        count(Action::Change),
        count(Action::Erase),
        count(Action::Unchanged)
    )
}

/// Carries the plan out, in its order, with waits where the next needs them.
async fn carry_out(app: &App, client: &Client, plan: &Plan) -> Result<(), Failure> {
    let mut enrolled = Vec::new();
    let mut images = BTreeSet::new();
    for item in &plan.items {
        let label = format!("{} {}", item.kind, item.name);
        let made = match &item.step {
            Step::Organisation(new) => client.create_organisation(new).await.map(drop),
            Step::Project(new) => client.create_project(new).await.map(drop),
            Step::Site(new) => client.create_site(new).await.map(drop),
            Step::SiteChange(name, change) => client.change_site(name, change).await.map(drop),
            Step::Network(new) => client.create_network(new).await.map(drop),
            Step::NetworkChange(name, change, version) => {
                let changed = client.change_network(name, change, Some(*version)).await;
                changed.map(drop)
            }
            Step::MachineType(new) => client.create_machine_type(new).await.map(drop),
            Step::MachineTypeChange(name, change) => {
                client.change_machine_type(name, change).await.map(drop)
            }
            Step::Quota(change) => client.set_quota(change).await.map(drop),
            Step::Image(new, file) => {
                let started = client.add_image(new).await?;
                images.insert(started.image.id.to_string());
                if let Some(file) = file {
                    upload(app, client, &started.image, file).await?;
                }
                Ok(())
            }
            Step::Install(new, files) => {
                let started = client.add_image(new).await?;
                images.insert(started.image.id.to_string());
                let sent = install_config::upload(app, client, started, files).await;
                sent.map_err(|failure| at(&label, failure))?;
                Ok(())
            }
            Step::Parts(id, files) => {
                let image = client.image(&id.to_string()).await?;
                images.insert(id.to_string());
                let started = ImageStarted {
                    image,
                    operation: None,
                };
                let sent = install_config::upload(app, client, started, files).await;
                sent.map_err(|failure| at(&label, failure))?;
                Ok(())
            }
            Step::Upload(id, file) => {
                let known = client.image(&id.to_string()).await?;
                images.insert(id.to_string());
                upload(app, client, &known, file).await?;
                Ok(())
            }
            Step::Await(id) => {
                images.insert(id.to_string());
                continue;
            }
            Step::Enroll(new) => match client.enroll(new).await {
                Ok(started) => {
                    enrolled.push((new.name.to_string(), started.operation.id));
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Step::MachineChange(id, change, version) => {
                let changed = client.change_machine(id, change, Some(*version)).await;
                changed.map(drop)
            }
            Step::Bmc(id, change) => client.set_bmc(id, change).await.map(drop),
            Step::LeaseChange(id, change, version) => {
                let id = id.to_string();
                let changed = client.change_lease(&id, change, Some(*version)).await;
                changed.map(drop)
            }
            Step::Nothing | Step::TakeOver(..) | Step::Lease(_) | Step::Reinstall(..) => continue,
        };
        made.map_err(|error| at(&label, error.into()))?;
        app.output.note(format!("{label}: done"));
    }
    if !enrolled.is_empty() {
        progress::follow_all(app, client, enrolled).await?;
    }
    for id in images {
        taken_in(client, &id).await?;
    }
    take_over(app, client, plan).await?;
    leases(app, client, plan).await
}

fn at(label: &str, failure: Failure) -> Failure {
    let sentence = format!(
        "{label}: {} (what was done before it stays, and is not done again)",
        failure.sentence
    );
    Failure {
        sentence,
        ..failure
    }
}

async fn upload(
    app: &App,
    client: &Client,
    known: &billet_model::image::Image,
    file: &Path,
) -> Result<(), Failure> {
    let sent = image::upload_to(app, client, known, file).await;
    let started = sent.map_err(|failure| at(&format!("image {}", known.name), failure))?;
    if let Some(operation) = started.operation {
        let label = format!("image {}", known.name);
        progress::follow(app, client, &label, operation.id).await?;
    }
    Ok(())
}

/// Waits until an image is there.
async fn taken_in(client: &Client, id: &str) -> Result<(), Failure> {
    loop {
        let image = client.image(id).await?;
        match image.state {
            ImageState::Available => return Ok(()),
            ImageState::Importing => tokio::time::sleep(LOOK).await,
            ImageState::AwaitingUpload | ImageState::Failed => {
                let why = image.reason.unwrap_or_else(|| "it has no bytes".to_owned());
                let name = &image.name;
                return Err(Failure::failed(format!("image {name}: {why}"))
                    .hint(format!("`billet image delete {name}`, then apply again")));
            }
        }
    }
}

async fn take_over(app: &App, client: &Client, plan: &Plan) -> Result<(), Failure> {
    let mut under_way = Vec::new();
    for item in &plan.items {
        let machine: MachineView = match (&item.step, item.kind) {
            (Step::TakeOver(name, _), _) => client.machine(name).await?,
            // One that was taken over before may not have come to its end.
            (Step::Nothing, "take-over") => {
                let machine = client.machine(&item.name).await?;
                let busy = matches!(
                    machine.lifecycle,
                    Lifecycle::Inspecting | Lifecycle::Erasing | Lifecycle::Testing
                );
                under_way.extend(
                    machine
                        .operation
                        .filter(|_| busy)
                        .map(|o| (item.name.clone(), o)),
                );
                continue;
            }
            _ => continue,
        };
        let Step::TakeOver(name, drives) = &item.step else {
            continue;
        };
        if machine.lifecycle != Lifecycle::Enrolled {
            // Asked for by one that was killed, and carried out since the plan was made.
            under_way.extend(machine.operation.map(|o| (item.name.clone(), o)));
            continue;
        }
        // An enrolment that is under way holds the machine until its end, the drives read or not.
        if let Some(operation) = machine.operation {
            progress::follow(app, client, name, operation).await?;
        }
        let started = client.take_over(name, drives.clone(), None, None).await;
        let started = started.map_err(|error| at(&format!("take-over {name}"), error.into()))?;
        under_way.push((name.clone(), started.operation.id));
    }
    follow_all(app, client, under_way).await
}

async fn leases(app: &App, client: &Client, plan: &Plan) -> Result<(), Failure> {
    let mut under_way = Vec::new();
    for item in &plan.items {
        let started = match &item.step {
            Step::Lease(new) => client.create_lease(new).await,
            Step::Reinstall(id, with) => client.reinstall_lease(&id.to_string(), with).await,
            _ => continue,
        };
        let label = format!("{} {}", item.kind, item.name);
        let started = started.map_err(|error| at(&label, error.into()))?;
        under_way.push((item.name.clone(), started.operation.id));
    }
    follow_all(app, client, under_way).await
}

async fn follow_all(
    app: &App,
    client: &Client,
    operations: Vec<(String, OperationId)>,
) -> Result<(), Failure> {
    if operations.is_empty() {
        return Ok(());
    }
    progress::follow_all(app, client, operations).await
}
