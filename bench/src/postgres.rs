//! A private Postgres with its default durability: every commit waits for the disk.

use std::io;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rapport_stories::free_port;

use crate::server::cpu_seconds;

/// Postgres refuses to run as root: then it runs as `nobody`.
const NOBODY: u32 = 65_534;
/// What a small production server would be given.
const SETTINGS: &str = "-c listen_addresses=127.0.0.1 -c shared_buffers=512MB -c max_wal_size=4GB -c max_connections=200";

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Postgres {
    bin: PathBuf,
    data: PathBuf,
    port: u16,
}

impl Postgres {
    /// Makes a cluster below `folder` and starts it.
    pub(crate) fn start(folder: &Path) -> io::Result<Self> {
        let folder = folder.join("postgres");
        std::fs::create_dir(&folder)?;
        if is_root()? {
            // The way down to it must be open for another user.
            chown(&folder, Some(NOBODY), Some(NOBODY))?;
            let parent = folder.parent().unwrap_or(&folder);
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(parent, mode)?;
        }
        let postgres = Self {
            bin: newest_bin()?,
            data: folder.join("data"),
            port: free_port(),
        };
        let data = postgres.data.display().to_string();
        let locale = ["-U", "app", "-A", "trust", "-E", "UTF8", "--locale=C"];
        postgres.run("initdb", &[&["-D", data.as_str()], &locale[..]].concat())?;
        let log = folder.join("log").display().to_string();
        let options = format!(
            "{SETTINGS} -p {} -c unix_socket_directories={}",
            postgres.port,
            folder.display()
        );
        postgres.run(
            "pg_ctl",
            &["start", "-w", "-D", &data, "-l", &log, "-o", &options],
        )?;
        Ok(postgres)
    }

    /// Makes a database and returns its URL.
    pub(crate) fn database(&self, name: &str) -> io::Result<String> {
        let port = self.port.to_string();
        self.run(
            "createdb",
            &["-h", "127.0.0.1", "-p", &port, "-U", "app", name],
        )?;
        Ok(format!("postgres://app@127.0.0.1:{port}/{name}"))
    }

    /// Returns the bytes that a database's tables and indexes take.
    pub(crate) fn bytes(&self, database: &str) -> io::Result<u64> {
        let query = format!("select pg_database_size('{database}')");
        let port = self.port.to_string();
        let text = self.run(
            "psql",
            &[
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                "app",
                "-Atc",
                &query,
                database,
            ],
        )?;
        text.trim().parse().map_err(io::Error::other)
    }

    /// Returns the CPU time of the server and all its children, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let file = std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let Some(own) = file
            .lines()
            .next()
            .and_then(|line| line.parse::<u32>().ok())
        else {
            return 0.0;
        };
        let path = format!("/proc/{own}/task/{own}/children");
        let children = std::fs::read_to_string(path).unwrap_or_default();
        let living: f64 = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .map(cpu_seconds)
            .sum();
        cpu_seconds(own) + living
    }

    /// Stops the server.
    pub(crate) fn stop(self) -> io::Result<()> {
        self.halt().map(|_| ())
    }

    fn halt(&self) -> io::Result<String> {
        let data = self.data.display().to_string();
        self.run("pg_ctl", &["stop", "-w", "-m", "fast", "-D", &data])
    }

    fn run(&self, program: &str, arguments: &[&str]) -> io::Result<String> {
        let mut command = Command::new(self.bin.join(program));
        command
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null());
        if is_root()? {
            command.uid(NOBODY).gid(NOBODY);
        }
        if program == "pg_ctl" {
            // The server keeps what it inherits open: waiting for its pipe would never end.
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let status = command.status()?;
            return match status.success() {
                true => Ok(String::new()),
                false => Err(io::Error::other(format!("pg_ctl ended with {status}"))),
            };
        }
        let output = command.output()?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => {
                let why = String::from_utf8_lossy(&output.stderr);
                Err(io::Error::other(format!("{program}: {why}")))
            }
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Stopped already is fine.
        let _ = self.halt();
    }
}

fn is_root() -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}

/// Returns the folder of the newest server that Debian's packages installed.
fn newest_bin() -> io::Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")?;
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin")))
        })
        .collect();
    found.sort();
    let newest = found.pop().map(|(_, bin)| bin);
    newest.ok_or_else(|| io::Error::other("no Postgres: run scripts/install-test-deps first"))
}
