//! Label sets of real exporters: those of the scrapes in `examples/data`.

use std::fs;
use std::path::Path;

use losertree::Labels;
use losertree::series::LabelsBuilder;

#[allow(unused_imports, reason = "nothing is written here")]
#[path = "../../examples/fan_in/exposition/mod.rs"]
mod exposition;

use exposition::Format;

/// On how many machines the exporters run, at least.
const MACHINES: usize = 16;

/// The label sets of each scrape, sorted.
pub(crate) fn alone() -> Vec<Vec<Labels>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("examples").join("data");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "prom"));
    files.sort_unstable();
    files.iter().map(|path| sorted(read(path))).collect()
}

/// The label sets of all scrapes on each of 16 machines, or as many as there are sources. The label `instance` tells them apart.
/// A source has some of the machines, and each machine is known to `replicas` sources.
pub(crate) fn fleet(sources: usize, replicas: usize) -> Vec<Vec<Labels>> {
    let exporters = alone().concat();
    let mut runs = vec![Vec::new(); sources];
    for machine in 0..MACHINES.max(sources) {
        // Not in the order of the sources.
        let address = format!("10.4.{}.{}:9100", machine * 37 % 101, machine * 91 % 250);
        let all = exporters.iter().map(|labels| on_machine(labels, &address)).collect::<Vec<_>>();
        for replica in 0..replicas.min(sources) {
            runs[(machine + replica) % sources].extend(all.iter().cloned());
        }
    }
    runs.into_iter().map(sorted).collect()
}

fn on_machine(labels: &Labels, address: &str) -> Labels {
    let mut builder = LabelsBuilder::new();
    for (name, value) in labels {
        builder.set(name, value);
    }
    builder.set("instance", address);
    builder.build().unwrap_or_else(|error| panic!("{labels}: {error}"))
}

fn read(path: &Path) -> Vec<Labels> {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let series = exposition::parse(&text, Format::default());
    let series = series.unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
    series.into_iter().map(|series| series.labels).collect()
}

/// No source gives a series twice.
fn sorted(mut labels: Vec<Labels>) -> Vec<Labels> {
    labels.sort_unstable();
    labels.dedup();
    labels
}
