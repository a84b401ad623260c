//! The options that bound what comes from outside. `docs/limits.md` has them all in one table, with what is said when one is met.

use std::time::Duration;

use clap::Args;
use losertree_prometheus::Limits;
use losertree_prometheus::remote::RemoteLimits;
use losertree_prometheus::server::ServerLimits;

#[derive(Args)]
#[command(next_help_heading = "Bounds")]
pub(crate) struct Bounds {
    /// How many connections may be open. For another one, one is closed that has sent no whole request.
    #[arg(long, value_name = "NUMBER", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    max_connections: u32,
    /// How long the head of a request may be: its path and headers.
    #[arg(long, value_name = "KIB", default_value_t = 32, value_parser = clap::value_parser!(u32).range(4..=1 << 10))]
    max_head_kib: u32,
    /// How many headers a request may have.
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..=1 << 10))]
    max_headers: u32,
    /// How long the path of a request may be.
    #[arg(long, value_name = "BYTES", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(64..=32 << 10))]
    max_path_bytes: u32,
    /// How long the body of a request may be, compressed.
    #[arg(long, value_name = "KIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=64 << 10))]
    max_request_kib: u32,
    /// How long it may be decompressed, and decoded.
    #[arg(long, value_name = "KIB", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=64 << 10))]
    max_decompressed_kib: u32,
    /// How much memory requests may take altogether that are coming, or wait for their turn.
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1 << 10))]
    max_receiving_mib: u32,
    /// How many queries a request may have.
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    max_queries: u32,
    /// How many matchers a query may have.
    #[arg(long, value_name = "NUMBER", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    max_matchers: u32,
    /// How long a regular expression may be.
    #[arg(long, value_name = "KIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=16 << 10))]
    max_regex_kib: u32,
    /// How much memory all regular expressions of a request may take, compiled.
    #[arg(long, value_name = "MIB", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1 << 10))]
    max_compiled_regex_mib: u32,
    /// How long the head of a request may take, from the connection or the answer before.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    head_seconds: u64,
    /// How long the body of a request may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    body_seconds: u64,
    /// Within which time a client has to take 64 KiB of its answer, from when it does not take what there is.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    stall_seconds: u64,
    /// The same, as long as others wait for their turn or for memory.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    busy_stall_seconds: u64,
    /// How many bytes of chunks an answer may have.
    #[arg(long, value_name = "GIB", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    max_chunk_gib: u64,
    /// How long a frame of another server's answer may be.
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1 << 10))]
    max_store_frame_mib: u32,
    /// How long a series of another server may be, of all its frames; a frame when it is decoded; an answer that is not streamed.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=2 << 10))]
    max_store_series_mib: u32,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

impl Bounds {
    /// Sets the limits of what comes.
    pub(crate) fn limit_server(&self, limits: &mut ServerLimits) {
        limits.connections = self.max_connections as usize;
        limits.head_bytes = self.max_head_kib as usize * KIB;
        limits.headers = self.max_headers as usize;
        limits.path_bytes = self.max_path_bytes as usize;
        limits.request_bytes = self.max_request_kib as usize * KIB;
        limits.decompressed_bytes = self.max_decompressed_kib as usize * KIB;
        limits.receiving_bytes = self.max_receiving_mib as usize * MIB;
        limits.queries = self.max_queries as usize;
        limits.matchers = self.max_matchers as usize;
        limits.pattern_bytes = self.max_regex_kib as usize * KIB;
        limits.compiled_bytes = self.max_compiled_regex_mib as usize * MIB;
        limits.head_time = Duration::from_secs(self.head_seconds);
        limits.body_time = Duration::from_secs(self.body_seconds);
        limits.stall_time = Duration::from_secs(self.stall_seconds);
        limits.busy_stall_time = Duration::from_secs(self.busy_stall_seconds);
    }

    /// Sets the limits of answers.
    pub(crate) const fn limit_answers(&self, limits: &mut Limits) {
        limits.chunk_bytes = self.max_chunk_gib << 30;
    }

    /// Sets the limits of what other servers send.
    pub(crate) const fn limit_remotes(&self, limits: &mut RemoteLimits) {
        limits.frame_bytes = self.max_store_frame_mib as usize * MIB;
        limits.held_bytes = self.max_store_series_mib as usize * MIB;
    }
}
