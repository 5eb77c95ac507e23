//! The processes of a region as the command line names them.

use clap::Args;
use gridflow::engine::Cluster;

use super::Failed;

#[derive(Args)]
pub(crate) struct ClusterArguments {
    /// Number of processes when a region runs as several (with --hosts).
    #[arg(long, requires = "hosts")]
    processes: Option<usize>,
    /// Index of this process, from 0.
    #[arg(long, requires = "hosts")]
    process: Option<usize>,
    /// Addresses of all processes, `host:port,host:port,…`; each is given the same log, process 0 writes the outputs.
    #[arg(long, value_delimiter = ',', requires = "process")]
    hosts: Vec<String>,
}

impl ClusterArguments {
    /// This process among them; `None` of a region of one.
    pub(crate) fn read(&self) -> Result<Option<Cluster>, Failed> {
        let Self { processes, process, hosts } = self;
        let Some(process) = *process else { return Ok(None) };
        if let Some(processes) = processes.filter(|processes| *processes != hosts.len()) {
            return Err(Failed::usage(format!("--processes {processes}, but --hosts names {}", hosts.len())));
        }
        if process >= hosts.len() {
            return Err(Failed::usage(format!(
                "--process {process} is none of the {} processes of --hosts (they count from 0)",
                hosts.len()
            )));
        }
        Ok(Some(Cluster { process, addresses: hosts.clone() }))
    }
}
