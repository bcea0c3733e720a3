//! The course of a task: one child process per algorithm, then the choice, then the answer.
//!
//! Parent and child speak JSON: a [`Job`] on the child's stdin, an [`Answer`] on its stdout.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::args::{CommonArgs, LabArgs, Task};
use crate::error::LabError;
use crate::print::print;
use crate::row::Row;
use crate::{attribution, churn, classify, clv, experiment, next_item, queue, recommend};

/// What a child is asked to measure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) task: Task,
    pub(crate) algorithm: String,
    /// Whether a score on held-out training rows is wanted, to choose by.
    pub(crate) validate: bool,
    /// Where to write the model.
    pub(crate) save: Option<PathBuf>,
}

/// What a child found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Rows whose `chosen` says which one counts if this algorithm is the chosen one.
    pub(crate) rows: Vec<Row>,
    /// The score on held-out training rows, higher is better.
    pub(crate) validation: Option<f64>,
    /// Sentences for stderr, the same from every child.
    pub(crate) warnings: Vec<String>,
}

/// An answer, or whose fault it is that there is none.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Measured(Answer),
    Input(String),
    Failed(String),
}

/// What is to be done, and how the chosen algorithm is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) algorithms: Vec<&'static str>,
    pub(crate) rule: Rule,
}

/// How the chosen algorithm is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// It is this one of the list.
    Known(usize),
    /// It is the one that does best on held-out training rows; the earlier of equals.
    Validated,
}

impl Rule {
    /// Returns the rule of the tasks that validate: `auto` wherever it runs, else the winner.
    pub(crate) fn validated(algorithms: &[&'static str]) -> Self {
        match algorithms.iter().position(|name| *name == "auto") {
            Some(auto) => Self::Known(auto),
            None if algorithms.len() == 1 => Self::Known(0),
            None => Self::Validated,
        }
    }
}

/// Runs a task and prints its rows on stdout, warnings and progress on stderr.
///
/// The calling program must hand `lab child` on its own command line back to this function: it is how
/// the child processes are started.
///
/// # Errors
/// [`LabError::Input`] for a wrong flag or file, [`LabError::Failed`] for all else. Nothing was
/// printed on stdout and no file was written then.
pub fn run(args: LabArgs) -> Result<(), LabError> {
    let task = args.task;
    let Some(common) = task.common() else {
        return answer_parent();
    };
    let plan = plan(&task)?;
    common.validate()?;
    if let Some(save) = &common.save {
        check_save(save)?;
    }
    let measured = measure_all(&task, &plan, common);
    if measured.is_err()
        && let Some(save) = &common.save
    {
        plan.algorithms
            .iter()
            .for_each(|name| remove(&part(save, name)));
    }
    let (mut answers, chosen) = measured?;
    if let Some(save) = &common.save {
        keep_chosen(save, &plan, chosen)?;
    }
    for (at, answer) in answers
        .iter_mut()
        .enumerate()
        .filter(|(at, _)| *at != chosen)
    {
        debug_assert!(at != chosen);
        answer
            .rows
            .iter_mut()
            .for_each(|row| row.put("chosen", false));
    }
    let rows: Vec<Row> = answers.into_iter().flat_map(|answer| answer.rows).collect();
    print(&rows, common.json)
}

fn plan(task: &Task) -> Result<Plan, LabError> {
    match task {
        Task::Recommend(args) => recommend::plan(args),
        Task::NextItem(args) => next_item::plan(args),
        Task::Classify(args) => classify::plan(args),
        Task::Experiment(args) => experiment::plan(args),
        Task::Attribution(args) => attribution::plan(args),
        Task::Churn(args) => churn::plan(args),
        Task::Clv(args) => clv::plan(args),
        Task::Queue(args) => queue::plan(args),
        Task::Child => Err(childless()),
    }
}

fn childless() -> LabError {
    LabError::failed("a child has no children")
}

/// Measures every algorithm, one after the other: two at once would disturb each other's time.
fn measure_all(
    task: &Task,
    plan: &Plan,
    common: &CommonArgs,
) -> Result<(Vec<Answer>, usize), LabError> {
    let mut progress = Progress::begin();
    let mut answers = Vec::new();
    for (at, algorithm) in plan.algorithms.iter().enumerate() {
        progress.say(&format!(
            "measuring {algorithm} ({} of {})",
            at + 1,
            plan.algorithms.len()
        ));
        let save = common.save.as_deref().map(|file| part(file, algorithm));
        let known_loser = matches!(plan.rule, Rule::Known(chosen) if chosen != at);
        let job = Job {
            task: task.clone(),
            algorithm: (*algorithm).to_owned(),
            validate: plan.rule == Rule::Validated,
            save: save.filter(|_| !known_loser),
        };
        let answer = ask_child(&job)?;
        if at == 0 {
            answer
                .warnings
                .iter()
                .for_each(|warning| progress.say(&format!("warning: {warning}")));
        }
        answers.push(answer);
    }
    progress.end();
    let chosen = match plan.rule {
        Rule::Known(chosen) => chosen,
        Rule::Validated => best(answers.iter().map(|answer| answer.validation)),
    };
    Ok((answers, chosen))
}

/// Returns the place of the highest score, the first of equals; undefined ones lose.
fn best(scores: impl Iterator<Item = Option<f64>>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (at, score) in scores.enumerate() {
        if let Some(score) = score
            && score > best.1
        {
            best = (at, score);
        }
    }
    best.0
}

fn part(file: &Path, algorithm: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{algorithm}.part"));
    name.into()
}

fn remove(file: &Path) {
    // A file that is not there, or cannot go, changes no answer.
    let _ = std::fs::remove_file(file);
}

/// Refuses, before hours of measuring, a place where no file can be.
fn check_save(save: &Path) -> Result<(), LabError> {
    if save.is_dir() {
        let why = format!("--save {}: is a folder", save.display());
        return Err(LabError::input(why));
    }
    match save.parent() {
        Some(folder) if folder != Path::new("") && !folder.is_dir() => {
            let (save, folder) = (save.display(), folder.display());
            let why = format!("--save {save}: there is no folder {folder}");
            Err(LabError::input(why))
        }
        Some(_) | None => Ok(()),
    }
}

/// Gives the chosen model its name; the others go, and with an error the chosen one too.
fn keep_chosen(save: &Path, plan: &Plan, chosen: usize) -> Result<(), LabError> {
    let kept = std::fs::rename(part(save, plan.algorithms[chosen]), save);
    plan.algorithms
        .iter()
        .for_each(|name| remove(&part(save, name)));
    kept.map_err(|error| LabError::failed(format!("{}: {error}", save.display())))
}

/// Starts this very program as a child and waits for its answer.
fn ask_child(job: &Job) -> Result<Answer, LabError> {
    let failed = |error: &dyn std::fmt::Display| {
        LabError::failed(format!("measuring {}: {error}", job.algorithm))
    };
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    let mut child = Command::new(program)
        .args(["lab", "child"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    let request = serde_json::to_vec(job).map_err(|error| failed(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A child that died early says why by its status, below.
        let _ = stdin.write_all(&request);
    }
    let output = child.wait_with_output().map_err(|error| failed(&error))?;
    if !output.status.success() {
        return Err(failed(&output.status));
    }
    match serde_json::from_slice(&output.stdout).map_err(|error| failed(&error))? {
        Reply::Measured(answer) => Ok(answer),
        Reply::Input(why) => Err(LabError::Input(why)),
        Reply::Failed(why) => Err(LabError::Failed(why)),
    }
}

/// The child: reads a job, measures, writes the answer.
fn answer_parent() -> Result<(), LabError> {
    let failed = |error: &dyn std::fmt::Display| {
        LabError::failed(format!("`lab child` is for `lab` itself: {error}"))
    };
    let mut request = Vec::new();
    std::io::stdin()
        .read_to_end(&mut request)
        .map_err(|error| failed(&error))?;
    let job: Job = serde_json::from_slice(&request).map_err(|error| failed(&error))?;
    let reply = match measure(&job) {
        Ok(answer) => Reply::Measured(answer),
        Err(LabError::Input(why)) => Reply::Input(why),
        Err(LabError::Failed(why)) => Reply::Failed(why),
    };
    let reply = serde_json::to_vec(&reply).map_err(|error| failed(&error))?;
    std::io::stdout()
        .lock()
        .write_all(&reply)
        .map_err(|error| failed(&error))
}

/// Measures one algorithm in this process, on a pool of as many threads as asked for.
fn measure(job: &Job) -> Result<Answer, LabError> {
    let common = job.task.common().ok_or_else(childless)?;
    let threads = common.threads.map_or(0, std::num::NonZeroUsize::get);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|error| LabError::failed(error.to_string()))?;
    pool.install(|| match &job.task {
        Task::Recommend(args) => recommend::measure(args, job),
        Task::NextItem(args) => next_item::measure(args, job),
        Task::Classify(args) => classify::measure(args, job),
        Task::Experiment(args) => experiment::measure(args, job),
        Task::Attribution(args) => attribution::measure(args, job),
        Task::Churn(args) => churn::measure(args, job),
        Task::Clv(args) => clv::measure(args, job),
        Task::Queue(args) => queue::measure(args, job),
        Task::Child => Err(childless()),
    })
}

/// Begins a row with the keys that every task has; times and memory are filled in by [`finish_row`].
pub(crate) fn begin_row(task: &str, job: &Job, common: &CommonArgs, rows: (usize, usize)) -> Row {
    let mut row = Row::default();
    row.put("task", task);
    row.put("algorithm", job.algorithm.as_str());
    row.put("chosen", true);
    row.put("seed", common.seed);
    row.put("train_rows", rows.0);
    row.put("test_rows", rows.1);
    for key in ["train_cpu_seconds", "score_cpu_seconds", "peak_rss_bytes"] {
        row.put(key, Value::Null);
    }
    row
}

/// Fills in what the work cost.
pub(crate) fn finish_row(row: &mut Row, train_seconds: f64, score_seconds: f64) {
    row.number("train_cpu_seconds", Some(train_seconds));
    row.number("score_cpu_seconds", Some(score_seconds));
    row.put(
        "peak_rss_bytes",
        crate::cost::peak_rss_bytes().map_or(Value::Null, Value::from),
    );
}

/// Writes the model of a child, beside its final place.
pub(crate) fn save(
    job: &Job,
    model: impl FnOnce() -> Result<Vec<u8>, LabError>,
) -> Result<(), LabError> {
    let Some(file) = &job.save else {
        return Ok(());
    };
    let written = std::fs::write(file, model()?);
    written.map_err(|error| LabError::failed(format!("{}: {error}", file.display())))
}

/// Which algorithm runs, on stderr: a spinner on a terminal, plain lines otherwise.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn begin() -> Self {
        Self(
            std::io::stderr()
                .is_terminal()
                .then(ProgressBar::new_spinner),
        )
    }

    fn say(&mut self, line: &str) {
        match &self.0 {
            Some(bar) if line.starts_with("warning") => bar.println(line),
            Some(bar) => {
                bar.set_message(line.to_owned());
                bar.enable_steady_tick(std::time::Duration::from_millis(200));
            }
            // A closed stderr is nobody's problem.
            None => drop(writeln!(std::io::stderr(), "{line}")),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_chosen_wherever_it_runs() {
        assert_eq!(Rule::validated(&["popularity", "auto"]), Rule::Known(1));
        assert_eq!(Rule::validated(&["popularity"]), Rule::Known(0));
        assert_eq!(
            Rule::validated(&["popularity", "item-knn"]),
            Rule::Validated
        );
    }

    #[test]
    fn the_first_of_equals_wins_and_the_undefined_lose() {
        assert_eq!(best([None, Some(0.1), Some(0.3), Some(0.3)].into_iter()), 2);
        assert_eq!(best([None, None].into_iter()), 0);
    }

    #[test]
    fn a_model_that_cannot_get_its_name_leaves_no_part() {
        let folder = tempfile::tempdir().unwrap();
        let save = folder.path().join("sv");
        std::fs::create_dir(&save).unwrap();
        let algorithms = vec!["popularity", "item-knn"];
        for name in &algorithms {
            std::fs::write(part(&save, name), "model").unwrap();
        }
        let rule = Rule::Known(0);
        assert!(keep_chosen(&save, &Plan { algorithms, rule }, 0).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(check_save(&save).unwrap_err().exit_code(), 2);
        assert_eq!(check_save(&save.join("no/m")).unwrap_err().exit_code(), 2);
        assert_eq!(check_save(&save.join("m")), Ok(()));
        assert_eq!(check_save(Path::new("model")), Ok(()));
    }
}
