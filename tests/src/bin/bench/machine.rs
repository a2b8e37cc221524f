//! Where and with what it was measured: without these, figures say nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::cases::Product;
use crate::server::Programs;

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    /// Names and what they are.
    pub(crate) rows: Vec<(&'static str, String)>,
}

pub(crate) fn describe(data: &Path, programs: &Programs) -> Machine {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown processor", |(_, model)| model);
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let processor = format!("{model}, {cores} cores");
    let virtualized =
        if cpuinfo.lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor ")) { ", virtual machine" } else { "" };
    let mut rows = vec![
        ("processor", format!("{processor}{virtualized}")),
        ("kernel", first_line("uname", &["-srm"])),
        ("file system of the data", first_line("findmnt", &["--noheadings", "--output", "FSTYPE", "--target", &data.to_string_lossy()])),
        ("date", first_line("date", &["--utc", "+%F"])),
        ("compiler", first_line("rustc", &["--version"])),
        ("commit", first_line("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--exclude=*"])),
    ];
    for product in Product::ALL {
        let version = match programs.path(product) {
            // Redis tells its build as well.
            Some(path) => first_line(&path.to_string_lossy(), &["--version"]).split(" sha=").next().unwrap_or_default().to_owned(),
            None => format!("not there: {}", product.how_to_install()),
        };
        rows.push((product.name(), version));
    }
    Machine { processor, rows }
}

fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let line = output.ok().and_then(|output| String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned));
    line.filter(|line| !line.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
