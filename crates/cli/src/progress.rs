//! Following operations on stderr: bars where somebody watches, else a plain line per change of
//! step and one at least every ten seconds.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use billet_client::{Client, Followed};
use billet_model::{
    OperationId,
    operation::{Operation, OperationState},
    work::Progress,
};
use futures::StreamExt;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{
    app::App,
    failure::{Code, Failure},
    human,
    output::{say, watched},
};

/// How many operations are followed at the same time.
const AT_ONCE: usize = 64;

/// Silence on a log may not last longer than this.
const QUIET: Duration = Duration::from_secs(10);

/// `writing image, 312 MiB of 480 MiB (65%)`, as far as known.
pub fn describe(progress: &Progress) -> String {
    let Progress {
        step,
        done,
        total,
        unit,
    } = progress;
    let show = |count: u64| match unit.as_str() {
        "bytes" => human::bytes(count),
        "" => count.to_string(),
        unit => format!("{count} {unit}"),
    };
    match (done, total) {
        (0, 0) => step.clone(),
        (done, 0) => format!("{step}, {}", show(*done)),
        (done, total) => {
            let percent = u128::from(*done) * 100 / u128::from(*total);
            format!("{step}, {} of {} ({percent}%)", show(*done), show(*total))
        }
    }
}

/// One line, or one bar, of progress.
pub struct Line {
    label: String,
    bar: Option<ProgressBar>,
    quiet: bool,
    step: String,
    said: Option<Instant>,
    began: Instant,
}

impl Line {
    /// A line for `label`; among others where `among` is given.
    pub fn new(app: &App, label: &str, among: Option<&MultiProgress>) -> Self {
        let bar = (watched() && !app.output.quiet).then(|| {
            let bar = ProgressBar::new_spinner();
            let bar = match among {
                Some(all) => all.add(bar),
                None => bar,
            };
            bar.set_prefix(label.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            label: label.to_owned(),
            bar,
            quiet: app.output.quiet,
            step: String::new(),
            said: None,
            began: Instant::now(),
        }
    }

    /// Shows how far it is: `step` names what is being done, `text` says it whole.
    pub fn show(&mut self, step: &str, text: &str, share: Option<(u64, u64)>) {
        if self.quiet {
            return;
        }
        match &self.bar {
            Some(bar) => {
                let template = match share {
                    Some((done, total)) => {
                        bar.set_length(total);
                        bar.set_position(done);
                        "{spinner} {prefix}: [{bar:24}] {msg} {elapsed}"
                    }
                    None => "{spinner} {prefix}: {msg} {elapsed}",
                };
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style.progress_chars("=> "));
                }
                bar.set_message(text.to_owned());
            }
            None => {
                let due = self.said.is_none_or(|said| said.elapsed() >= QUIET);
                if due || self.step != step {
                    step.clone_into(&mut self.step);
                    self.said = Some(Instant::now());
                    let after = human::length(self.began.elapsed());
                    say(&format!("{}: {text} [{after}]", self.label));
                }
            }
        }
    }

    /// Shows an operation.
    pub fn operation(&mut self, operation: &Operation) {
        match &operation.progress {
            Some(progress) => {
                let share = (progress.total > 0).then_some((progress.done, progress.total));
                let said = describe(progress);
                let text = if operation.message.is_empty() || operation.message == progress.step {
                    said
                } else {
                    format!("{}: {said}", operation.message)
                };
                let step = format!("{}/{}", operation.message, progress.step);
                self.show(&step, &text, share);
            }
            None => self.show(&operation.message, &operation.message, None),
        }
    }

    /// Ends the line with its last words.
    pub fn end(self, text: &str) {
        let after = human::length(self.began.elapsed());
        let text = format!("{}: {text} [{after}]", self.label);
        match &self.bar {
            // Above the bars of others, which go on.
            Some(bar) => {
                bar.println(text);
                bar.finish_and_clear();
            }
            None if !self.quiet => say(&text),
            None => {}
        }
    }
}

/// Runs `work`, and leaves it when interrupted by hand.
async fn interruptible<T>(
    work: impl Future<Output = Result<T, Failure>>,
    hint: impl FnOnce() -> String,
) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => {
            Err(Failure::new(Code::Interrupted, "interrupted; the work goes on").hint(hint()))
        }
    }
}

async fn follow_in(client: &Client, id: OperationId, mut line: Line) -> Result<Operation, Failure> {
    let followed = client
        .follow(id, |now| match now {
            Followed::Now(operation) => {
                if operation.state == OperationState::Running {
                    line.operation(operation);
                }
            }
            Followed::Away { since, why } => {
                let text = format!(
                    "the server is away since {}; still trying ({why})",
                    human::length(since)
                );
                line.show("away", &text, None);
            }
        })
        .await;
    match followed {
        Ok(operation) => {
            let word = match operation.state {
                OperationState::Failed => "failed",
                _ => "done",
            };
            let text = if operation.message.is_empty() {
                word.to_owned()
            } else {
                format!("{word}: {}", operation.message)
            };
            line.end(&text);
            Ok(operation)
        }
        Err(error) => {
            line.end("lost sight of it");
            Err(error.into())
        }
    }
}

/// Follows an operation to its end. One that failed is a failure.
pub async fn follow(
    app: &App,
    client: &Client,
    label: &str,
    id: OperationId,
) -> Result<Operation, Failure> {
    let line = Line::new(app, label, None);
    let hint = || format!("follow it again with `billet operation follow {id}`");
    let operation = interruptible(follow_in(client, id, line), hint).await?;
    succeeded(label, operation)
}

fn succeeded(label: &str, operation: Operation) -> Result<Operation, Failure> {
    if operation.state == OperationState::Failed {
        let message = &operation.message;
        return Err(Failure::failed(format!("{label}: {message}")));
    }
    Ok(operation)
}

/// Follows several operations to their ends, and fails where one did.
pub async fn follow_all(
    app: &App,
    client: &Client,
    operations: Vec<(String, OperationId)>,
) -> Result<(), Failure> {
    let all = MultiProgress::new();
    let count = operations.len();
    let work = async {
        let results: Vec<Result<Operation, Failure>> = futures::stream::iter(operations)
            .map(|(label, id)| {
                let line = Line::new(app, &label, Some(&all));
                async move {
                    let operation = follow_in(client, id, line).await?;
                    succeeded(&label, operation)
                }
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let failures: Vec<Failure> = results.into_iter().filter_map(Result::err).collect();
        match failures.len() {
            0 => Ok(()),
            1 if count == 1 => Err(failures.into_iter().next().unwrap_or(Failure::silent(1))),
            failed => {
                let lines: Vec<String> = failures.into_iter().map(|f| f.sentence).collect();
                let sentence = format!("{failed} of {count} failed:\n  {}", lines.join("\n  "));
                Err(Failure::failed(sentence))
            }
        }
    };
    interruptible(work, || "see `billet operation list`".to_owned()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_in_words() {
        let check = |done, total, unit: &str, wanted: &str| {
            let progress = Progress {
                step: "writing".to_owned(),
                done,
                total,
                unit: unit.to_owned(),
            };
            assert_eq!(describe(&progress), wanted);
        };
        check(0, 0, "", "writing");
        check(1 << 20, 4 << 20, "bytes", "writing, 1 MiB of 4 MiB (25%)");
        check(1, 2, "drives", "writing, 1 drives of 2 drives (50%)");
        check(5 << 20, 0, "bytes", "writing, 5 MiB");
    }
}
