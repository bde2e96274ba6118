//! A database for tests: a real PostgreSQL in a folder of its own, that can be killed, frozen, copied and promoted. It
//! ends with the process that started it. Not in a broker that is built for use.

use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{CONFIRM_MAX, Host, PostgresOptions, Privacy, Standby};

/// Longest wait for a server to come or go.
const WAIT_MAX: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Who the brokers of tests are at the database: no superuser.
const USER: &str = "schakel";

/// One server.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    port: u16,
    /// Ends the server when its input is closed.
    keeper: Option<Child>,
}

fn failed(what: &str, output: &Output) -> io::Error {
    let text = String::from_utf8_lossy(&output.stderr);
    io::Error::other(format!("{what}: {text}"))
}

/// Where Debian puts the programs, the newest version last; else wherever the PATH says.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<PathBuf> = versions
        .map(|version| version.path().join("bin").join(name))
        .collect();
    found.retain(|path| path.is_file());
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from(name))
}

/// PostgreSQL does not run as root: then as its own user.
fn as_owner(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]);
    command.arg(program);
    command
}

/// Whether the programs are there, and why not.
pub fn missing() -> Option<String> {
    let found = as_owner(&program("initdb")).arg("--version").output();
    match found {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!(
            "initdb does not run: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
        Err(error) => Some(format!("initdb does not run: {error} (install postgresql)")),
    }
}

fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Cluster {
    /// A new, empty server in `folder`, which is made; started.
    ///
    /// # Errors
    /// It cannot be made or does not start.
    pub fn start(folder: &Path) -> io::Result<Self> {
        let mut cluster = Self::place(folder)?;
        let data = cluster.data();
        let made = as_owner(&program("initdb"))
            .args([
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
                "-D",
            ])
            .arg(&data)
            .current_dir(folder)
            .output()?;
        if !made.status.success() {
            return Err(failed("initdb", &made));
        }
        cluster.configure("")?;
        cluster.run()?;
        cluster.sql(&format!("CREATE ROLE {USER} LOGIN; GRANT pg_monitor TO {USER}"))?;
        cluster.sql(&format!("CREATE DATABASE schakel OWNER {USER}"))?;
        Ok(cluster)
    }

    fn place(folder: &Path) -> io::Result<Self> {
        let made = as_owner(Path::new("true")).status()?;
        if !made.success() {
            return Err(io::Error::other("setpriv does not run"));
        }
        fs::create_dir_all(folder)?;
        if rustix::process::geteuid().is_root() {
            let given = Command::new("chown").arg("postgres:").arg(folder).output()?;
            if !given.status.success() {
                return Err(failed("chown", &given));
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            port: free_port()?,
            keeper: None,
        })
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its settings, over those that every server of tests has.
    fn configure(&self, more: &str) -> io::Result<()> {
        let text = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = ''\nmax_connections = 60\n\
             shared_buffers = 32MB\nmax_wal_size = 256MB\nwal_keep_size = 64MB\nlogging_collector = off\n\
             cluster_name = 'schakel-test'\n{more}",
            self.port
        );
        fs::write(self.data().join("schakel.conf"), text)?;
        let main = self.data().join("postgresql.conf");
        if !fs::read_to_string(&main)?.contains("schakel.conf") {
            let mut file = fs::OpenOptions::new().append(true).open(main)?;
            file.write_all(b"\ninclude 'schakel.conf'\n")?;
        }
        Ok(())
    }

    /// Starts it, or starts it again.
    ///
    /// # Errors
    /// It does not come up.
    pub fn run(&mut self) -> io::Result<()> {
        self.end_keeper();
        let log = fs::File::create(self.folder.join("log"))?;
        const KEEP: &str = "\"$@\" <&- & read line; kill -QUIT $! 2>&-; wait $!";
        let keeper = as_owner(Path::new("sh"))
            .args(["-c", KEEP, "sh"])
            .arg(program("postgres"))
            .arg("-D")
            .arg(self.data())
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A test that is interrupted at its terminal ends it by closing its input.
            .process_group(0)
            .spawn()?;
        self.keeper = Some(keeper);
        self.wait("it does not come up", |cluster| {
            cluster.ask("postgres", "SELECT 1").is_ok()
        })
    }

    fn wait(&self, what: &str, mut done: impl FnMut(&Self) -> bool) -> io::Result<()> {
        let began = Instant::now();
        while !done(self) {
            if began.elapsed() > WAIT_MAX {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("PostgreSQL: {what}\n{log}")));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Where it listens.
    pub fn host(&self) -> Host {
        Host {
            name: "127.0.0.1".to_owned(),
            port: self.port,
        }
    }

    /// How a broker enters it.
    pub fn options(&self, schema: &str, notes_dir: &Path) -> PostgresOptions {
        PostgresOptions {
            hosts: vec![self.host()],
            database: "schakel".to_owned(),
            user: USER.to_owned(),
            password: None,
            schema: schema.to_owned(),
            privacy: Privacy::ThisMachine,
            standby: Standby::None,
            confirm_max: CONFIRM_MAX,
            migrate: true,
            pool_max_count: 4,
            notes_dir: notes_dir.to_owned(),
        }
    }

    /// Runs statements as the superuser; each by itself.
    ///
    /// # Errors
    /// What the server says.
    pub fn sql(&self, statements: &str) -> io::Result<String> {
        let mut said = String::new();
        for one in statements.split(';').filter(|one| !one.trim().is_empty()) {
            said = self.ask("postgres", one)?;
        }
        Ok(said)
    }

    /// From its next start on it talks to brokers over TLS only, with this certificate, and asks for this password.
    ///
    /// # Errors
    /// Its files cannot be written.
    pub fn lock_up(&self, (certificate, key): (&str, &str), password: &str) -> io::Result<()> {
        self.sql(&format!("ALTER ROLE {USER} PASSWORD '{password}'"))?;
        let data = self.data();
        fs::write(data.join("server.crt"), certificate)?;
        let private = data.join("server.key");
        fs::write(&private, key)?;
        fs::set_permissions(&private, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        if rustix::process::geteuid().is_root() {
            let given = Command::new("chown").arg("postgres:").arg(&private).output()?;
            if !given.status.success() {
                return Err(failed("chown", &given));
            }
        }
        let who =
            format!("host all postgres 127.0.0.1/32 trust\nhostssl all {USER} 127.0.0.1/32 scram-sha-256\n");
        fs::write(data.join("pg_hba.conf"), who)?;
        self.configure("ssl = on\nssl_min_protocol_version = 'TLSv1.3'\n")
    }

    /// One question to one database; the answer without decoration.
    ///
    /// # Errors
    /// What the server says.
    pub fn ask(&self, database: &str, statement: &str) -> io::Result<String> {
        let output = Command::new(program("psql"))
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-h",
                "127.0.0.1",
                "-p",
            ])
            .arg(self.port.to_string())
            .args(["-d", database, "-c", statement])
            .env("PGCONNECT_TIMEOUT", "10")
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            return Err(failed("psql", &output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// A standby of it in another folder, started; from then on this one waits for it at each commit.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn standby(&self, folder: &Path) -> io::Result<Self> {
        let mut standby = Self::place(folder)?;
        self.copy_to(&mut standby)?;
        Ok(standby)
    }

    /// Makes a former primary a standby of this one: with nothing of what it had.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn take_back(&self, former: &mut Self) -> io::Result<()> {
        former.kill();
        fs::remove_dir_all(former.data())?;
        self.copy_to(former)
    }

    fn copy_to(&self, standby: &mut Self) -> io::Result<()> {
        let from = format!(
            "host=127.0.0.1 port={} user=postgres application_name=standby_{}",
            self.port, standby.port
        );
        let copied = as_owner(&program("pg_basebackup"))
            .args([
                "--checkpoint=fast",
                "--no-sync",
                "-R",
                "-X",
                "stream",
                "-d",
                &from,
                "-D",
            ])
            .arg(standby.data())
            .current_dir(&standby.folder)
            .output()?;
        if !copied.status.success() {
            return Err(failed("pg_basebackup", &copied));
        }
        standby.configure("")?;
        standby.run()?;
        self.require(&format!("standby_{}", standby.port))?;
        self.wait("the standby does not follow", |cluster| {
            let following = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
            cluster.ask("postgres", following).is_ok_and(|count| count == "1")
        })
    }

    /// Sets whom each commit waits for; empty: nobody.
    ///
    /// # Errors
    /// What the server says.
    pub fn require(&self, standbys: &str) -> io::Result<()> {
        self.sql(&format!(
            "ALTER SYSTEM SET synchronous_standby_names = '{standbys}'"
        ))?;
        self.sql("SELECT pg_reload_conf()").map(drop)
    }

    /// Makes a standby the primary.
    ///
    /// # Errors
    /// It does not become one.
    pub fn promote(&self) -> io::Result<()> {
        // Nobody follows this one yet; whoever requires a standby attaches one.
        self.sql("SELECT pg_promote()")?;
        self.wait("it is not promoted", |cluster| {
            cluster
                .ask("postgres", "SELECT pg_is_in_recovery()")
                .is_ok_and(|is| is == "f")
        })
    }

    /// All its processes, the first one first.
    pub fn processes(&self) -> Vec<i32> {
        let first = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let Some(first) = first
            .lines()
            .next()
            .and_then(|line| line.trim().parse::<i32>().ok())
        else {
            return Vec::new();
        };
        let mut all = vec![first];
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<i32>().ok())
            else {
                continue;
            };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat
                .rsplit_once(')')
                .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
            if parent == Some(first) {
                all.push(pid);
            }
        }
        all
    }

    fn signal(&self, signal: Signal) {
        for pid in self.processes().into_iter().filter_map(Pid::from_raw) {
            // One that has ended meanwhile needs no signal.
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills all its processes at once, as a power cut of its machine would.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.end_keeper();
    }

    /// Freezes it: connections stay, nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn end_keeper(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.thaw();
        self.end_keeper();
    }
}
