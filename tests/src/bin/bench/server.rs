//! A fresh server for one run: on a port and in a directory of its own, on core 0, gone when the run is over, however it ends.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::cases::Product;

/// The server's core and the load's, so that neither takes time from the other.
pub(crate) const SERVER_CORE: &str = "0";
pub(crate) const LOAD_CORE: &str = "1";

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    osprey: PathBuf,
    pub(crate) load: PathBuf,
    others: Vec<(Product, PathBuf)>,
}

impl Programs {
    pub(crate) fn find() -> Result<Self, String> {
        if thread::available_parallelism().is_ok_and(|cores| cores.get() < 2) {
            return Err("two cores are needed, one for the server and one for the load".to_owned());
        }
        for program in ["taskset", "setpriv"] {
            in_path(program).ok_or(format!("{program} is not there: apt-get install util-linux"))?;
        }
        let here = std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
        let beside = |name: &str| {
            let path = here.with_file_name(name);
            if path.exists() { Ok(path) } else { Err(format!("{} is not there: run `make bench`, which builds it", path.display())) }
        };
        let others = [Product::Redis, Product::Memcached];
        let others = others.into_iter().filter_map(|product| Some((product, in_path(product.program())?))).collect();
        Ok(Self { osprey: beside("osprey")?, load: beside("osprey-bench")?, others })
    }

    pub(crate) fn path(&self, product: Product) -> Option<&Path> {
        match product {
            Product::Osprey => Some(&self.osprey),
            other => self.others.iter().find(|(product, _)| *product == other).map(|(_, path)| path.as_path()),
        }
    }

    pub(crate) fn missing(&self) -> impl Iterator<Item = Product> {
        Product::ALL.into_iter().filter(|&product| self.path(product).is_none())
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    let directories = std::env::var_os("PATH")?;
    std::env::split_paths(&directories).map(|directory| directory.join(program)).find(|path| path.is_file())
}

/// A command on one core, which the kernel kills should this program end before it.
pub(crate) fn pinned(core: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "taskset", "-c", core]);
    command
}

/// A server that answers. Killed when dropped, its data removed.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    child: Child,
    directory: PathBuf,
}

impl Running {
    /// Starts what `command_line` says, with its `PORT` and `DIR` put in, and waits until it answers.
    pub(crate) fn start(programs: &Programs, command_line: &str, product: Product, data: &Path) -> Result<Self, String> {
        let path = programs.path(product).ok_or_else(|| format!("{} is not there: {}", product.name(), product.how_to_install()))?;
        let failed = |error: io::Error| format!("{command_line}: {error}");
        // Always the same one, so that a run that was stopped leaves no more than the next one removes.
        let directory = data.join("osprey-bench-data");
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(failed)?;
        }
        let data = directory.join("data");
        fs::create_dir_all(&data).map_err(failed)?;
        let log = File::create(directory.join("log")).map_err(failed)?;
        let address = free_address().map_err(failed)?;
        let mut command = pinned(SERVER_CORE);
        for word in command_line.split(' ') {
            match word {
                "\"\"" => command.arg(""),
                "DIR" => command.arg(&data),
                program if program == product.program() => command.arg(path),
                word => command.arg(word.replace("PORT", &address.port().to_string())),
            };
        }
        let error_log = log.try_clone().map_err(failed)?;
        let child = command.stdin(Stdio::null()).stdout(log).stderr(error_log).spawn().map_err(failed)?;
        let mut running = Self { address, child, directory };
        running.wait_until_it_answers(product).map_err(|why| format!("{command_line}: {why}\n{}", running.log()))?;
        Ok(running)
    }

    /// The process: each program in front of the server becomes the next.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn wait_until_it_answers(&mut self, product: Product) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while !answers(self.address, product) {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("ended, {status}"));
            }
            if Instant::now() > deadline {
                return Err(format!("does not answer within {} s", PATIENCE.as_secs()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn answers(address: SocketAddr, product: Product) -> bool {
    let (question, beginning) = product.greeting();
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(question)?;
        let mut answer = vec![0; beginning.len()];
        stream.read_exact(&mut answer)?;
        Ok::<_, io::Error>(answer == beginning)
    };
    ask().unwrap_or(false)
}

/// A port that nobody has just now.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
