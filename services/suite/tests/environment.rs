//! `.env.example` and `docs/configuration.md` are made from the services' own flags.
//!
//! To write them after a flag changed: `UPDATE=1 cargo nextest run -p rapport-suite --test environment`.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command, CommandFactory as _};

/// The services and the commands that read variables.
fn commands() -> [(&'static str, Command); 5] {
    [
        ("profile", rapport_profile::config::Config::command()),
        ("recommend", rapport_recommend::config::Config::command()),
        ("ads", rapport_ads::config::Config::command()),
        ("care", rapport_care::config::Config::command()),
        ("evaluate", rapport_evaluate::config::Config::command()),
    ]
}

#[test]
fn the_documents_say_what_the_flags_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap();
    let made = [
        (".env.example", example()),
        ("docs/configuration.md", document()),
    ];
    let update = std::env::vars_os().any(|(name, _)| name == "UPDATE");
    for (file, text) in made {
        let path = root.join(file);
        if update {
            std::fs::write(&path, &text).unwrap();
        }
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == text,
            "{file} is out of date: run `UPDATE=1 cargo nextest run -p rapport-suite --test environment`"
        );
    }
}

fn document() -> String {
    let mut text = "# Configuration\n\nMade from the services' own flags. A flag beats its variable, \
        which beats the default; `--help` says the same. Variables that begin with `RAPPORT_` are read \
        by every service.\n"
        .to_owned();
    shared(&mut text);
    for (name, command) in commands() {
        write!(
            text,
            "\n## {name}\n\n| variable | default | meaning |\n|---|---|---|\n"
        )
        .unwrap();
        for (variable, arg) in own(&command) {
            row(&mut text, &variable, arg);
        }
    }
    text
}

fn shared(text: &mut String) {
    text.push_str("\n## Every service\n\n| variable | default | meaning |\n|---|---|---|\n");
    let (_, command) = commands().into_iter().next().unwrap();
    for (variable, arg) in with_variable(&command) {
        if variable.starts_with("RAPPORT_") {
            row(text, &variable, arg);
        }
    }
}

fn row(text: &mut String, variable: &str, arg: &Arg) {
    writeln!(
        text,
        "| `{variable}` | {} | {} |",
        default(arg, "–", "`"),
        help(arg)
    )
    .unwrap();
}

fn example() -> String {
    let mut text =
        "# Every variable that the services read, with its default. Commented out means: the \
        default holds.\n"
            .to_owned();
    let mut seen = Vec::new();
    for (name, command) in commands() {
        writeln!(text, "\n# {name}").unwrap();
        for (variable, arg) in with_variable(&command) {
            if !seen.contains(&variable) {
                writeln!(text, "# {variable}={}", default(arg, "", "")).unwrap();
                seen.push(variable);
            }
        }
    }
    text
}

fn own(command: &Command) -> Vec<(String, &Arg)> {
    let variables = with_variable(command).into_iter();
    variables
        .filter(|(variable, _)| !variable.starts_with("RAPPORT_"))
        .collect()
}

fn with_variable(command: &Command) -> Vec<(String, &Arg)> {
    let variable = |arg: &Arg| Some(arg.get_env()?.to_str()?.to_owned());
    command
        .get_arguments()
        .filter_map(|arg| Some((variable(arg)?, arg)))
        .collect()
}

fn default(arg: &Arg, none: &str, quote: &str) -> String {
    let values: Vec<&str> = arg
        .get_default_values()
        .iter()
        .filter_map(|value| value.to_str())
        .collect();
    match values.first() {
        Some(value) => format!("{quote}{value}{quote}"),
        None => none.to_owned(),
    }
}

fn help(arg: &Arg) -> String {
    let help = arg
        .get_long_help()
        .or(arg.get_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    help.replace('\n', " ").replace('|', "\\|")
}
