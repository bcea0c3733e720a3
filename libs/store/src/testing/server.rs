//! Starts a private Postgres for one test process and takes it down with that process.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rapport_types::testing::free_port;

/// `nobody`: Postgres refuses to run as root.
const NOBODY: u32 = 65_534;
/// Somebody else may take the port between choosing and binding it.
const STARTS_MAX: u32 = 3;
/// Made for speed: this data need not survive anything.
const SETTINGS: &str = "-c listen_addresses=127.0.0.1 -c fsync=off -c synchronous_commit=off \
    -c full_page_writes=off -c max_connections=300 -c shared_buffers=64MB";

/// Returns the URL of the test server's administrative database.
pub(super) fn postgres_url() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "the test run's own setting, not a service's"
    )]
    match std::env::var("TEST_PG_URL") {
        Ok(url) => url,
        Err(_) => SERVER.get_or_init(Server::start).url.clone(),
    }
}

struct Server {
    url: String,
    /// Cleans up. It waits on a pipe that the kernel closes when this process ends, however it ends.
    _guard: Child,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("rapport-pg-").tempdir();
        let folder = folder.expect("a temporary folder").keep();
        if is_root() {
            chown(&folder, Some(NOBODY), Some(NOBODY)).expect("root may chown");
        }
        let bin = postgres_bin();
        let data = folder.join("data");
        run(unprivileged(&bin.join("initdb"))
            .arg("-D")
            .arg(&data)
            .args([
                "-U",
                "app",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
            ]));
        let port = (1..=STARTS_MAX)
            .find_map(|_attempt| start_on_a_free_port(&bin, &folder))
            .unwrap_or_else(|| panic!("Postgres did not start, see {}", folder.display()));
        Self {
            url: format!("postgres://app@127.0.0.1:{port}/postgres"),
            _guard: guard(&bin, &folder),
        }
    }
}

fn start_on_a_free_port(bin: &Path, folder: &Path) -> Option<u16> {
    let port = free_port();
    let settings = format!(
        "{SETTINGS} -p {port} -c unix_socket_directories={}",
        folder.display()
    );
    let started = unprivileged(&bin.join("pg_ctl"))
        .args(["start", "-w", "-D"])
        .arg(folder.join("data"))
        .arg("-l")
        .arg(folder.join("log"))
        .args(["-o", &settings])
        // Not ours: the server would hold the test's output open after the test.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    started.is_ok_and(|status| status.success()).then_some(port)
}

/// Starts a shell that waits for this process to end, then stops the server and deletes its data.
fn guard(bin: &Path, folder: &Path) -> Child {
    unprivileged(Path::new("sh"))
        .arg("-c")
        .arg("read -r _; \"$0\" stop -m immediate -D \"$1/data\"; rm -rf \"$1\"")
        .arg(bin.join("pg_ctl"))
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A group of its own, so that a signal to the test's group leaves it to do its work.
        .process_group(0)
        .spawn()
        .expect("a shell starts")
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn unprivileged(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut setpriv = Command::new("setpriv");
        let id = NOBODY.to_string();
        setpriv
            .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
            .arg(program);
        setpriv
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    command
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// Returns the folder of `initdb`: `PGBIN`, or Debian's newest, or wherever `PATH` finds it.
fn postgres_bin() -> PathBuf {
    #[expect(
        clippy::disallowed_methods,
        reason = "the test run's own setting, not a service's"
    )]
    if let Ok(bin) = std::env::var("PGBIN") {
        return PathBuf::from(bin);
    }
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let newest = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    newest.unwrap_or_default()
}
