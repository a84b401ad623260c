//! Inputs for benchmarks, from fixed seeds: sorted runs of plain keys.
//!
//! All of them make `items` keys in total, out of which each source has a sorted part.

use crate::Random;

/// Makes uniform random numbers: each item is as likely to come from any source.
#[must_use]
pub fn uniform(seed: u64, sources: usize, items: usize) -> Vec<Vec<u64>> {
    let mut random = Random::seed(seed);
    dealt(sources, items, |runs| {
        for index in 0..items {
            runs[index % sources].push(random.next_u64());
        }
    })
}

/// Makes numbers of which one source has 64 in a row on average before another takes over.
#[must_use]
pub fn long_runs(seed: u64, sources: usize, items: usize) -> Vec<Vec<u64>> {
    let mut random = Random::seed(seed);
    dealt(sources, items, |runs| {
        let mut numbers: Vec<_> = (0..items).map(|_| random.next_u64()).collect();
        numbers.sort_unstable();
        let mut source = 0;
        for number in numbers {
            runs[source].push(number);
            // To one of the others, so that a run is not prolonged by chance.
            if random.chance(1.0 / 64.0) {
                source = (source + 1 + random.below(sources.saturating_sub(1))) % sources;
            }
        }
    })
}

/// Makes numbers of which only 16 are distinct, spread over all of `u64`.
#[must_use]
pub fn duplicates(seed: u64, sources: usize, items: usize) -> Vec<Vec<u64>> {
    let mut random = Random::seed(seed);
    let distinct: Vec<_> = (0..16).map(|_| random.next_u64()).collect();
    dealt(sources, items, |runs| {
        for index in 0..items {
            runs[index % sources].push(distinct[random.below(distinct.len())]);
        }
    })
}

/// Makes uniform random numbers of which the last source has nine in ten.
#[must_use]
pub fn skewed(seed: u64, sources: usize, items: usize) -> Vec<Vec<u64>> {
    let mut random = Random::seed(seed);
    dealt(sources, items, |runs| {
        for index in 0..items {
            let source = if index % 10 == 0 { index / 10 % sources } else { sources - 1 };
            runs[source].push(random.next_u64());
        }
    })
}

/// Makes numbers of which each source has a range of its own. Ranges are not in the order of the sources.
#[must_use]
pub fn disjoint(seed: u64, sources: usize, items: usize) -> Vec<Vec<u64>> {
    let mut random = Random::seed(seed);
    dealt(sources, items, |runs| {
        let mut numbers: Vec<_> = (0..items).map(|_| random.next_u64()).collect();
        numbers.sort_unstable();
        for range in numbers.chunks(items.div_ceil(sources).max(1)) {
            let empty = runs.iter().filter(|run| run.is_empty()).count();
            let place = random.below(empty);
            if let Some(run) = runs.iter_mut().filter(|run| run.is_empty()).nth(place) {
                run.extend(range);
            }
        }
    })
}

/// Makes strings like label sets: about 238 bytes long, neighbours in the order share about 174.
///
/// Each string is given to `replicas` sources, or to all if there are fewer: 1 makes unique series, 2 what a
/// pair of replicas would send. `items` counts the copies too, and is rounded
/// down to whole series.
#[must_use]
pub fn labels(seed: u64, sources: usize, items: usize, replicas: usize) -> Vec<Vec<String>> {
    let mut random = Random::seed(seed);
    let replicas = replicas.clamp(1, sources.max(1));
    let series = items / replicas;
    dealt(sources, items, |runs| {
        let mut serial = 0;
        for index in 0..series {
            // Four metrics, each with many series. Steps below ten mostly change one digit, or two.
            serial += 1 + random.below(3);
            let series = label(index * 4 / series, serial, &mut random);
            let first = random.below(sources);
            for replica in 0..replicas {
                runs[(first + replica) % sources].push(series.clone());
            }
        }
    })
}

fn label(metric: usize, serial: usize, random: &mut Random) -> String {
    let tail = random.next_u64() >> 20;
    format!(
        "__name__=http_server_request_duration_seconds_{metric}\0cluster=production-eu-west-1\0\
         container=query-frontend\0endpoint=http-metrics\0handler=/api/v1/query_range\0\
         instance=10.128.{serial:08}\0job=monitoring/query-frontend\0pod=query-frontend-{tail:011x}\0"
    )
}

/// Makes label sets of pods: few labels are long and shared, and each pod's name ends in two hashes.
#[must_use]
pub fn pods(seed: u64, sources: usize, items: usize) -> Vec<Vec<String>> {
    const APPS: [&str; 7] = [
        "cart",
        "checkout",
        "frontend",
        "ingress-nginx-controller",
        "ledger-writer",
        "search",
        "thanos-query",
    ];
    let mut random = Random::seed(seed);
    each(seed, sources, items, || {
        let app = APPS[random.below(APPS.len())];
        let (set, pod) = (random.next_u64() & 0xFF_FFFF, random.next_u64() & 0xF_FFFF);
        let node = random.below(40);
        format!(
            "__name__=container_memory_working_set_bytes\0container={app}\0namespace=prod-{}\0\
             node=ip-10-0-{node}-17.eu-west-1.compute.internal\0pod={app}-{set:06x}-{pod:05x}\0",
            app.len() % 3
        )
    })
}

/// Makes identifiers as databases have them: 32 random hexadecimal digits in groups.
#[must_use]
pub fn identifiers(seed: u64, sources: usize, items: usize) -> Vec<Vec<String>> {
    let mut random = Random::seed(seed);
    each(seed, sources, items, || {
        let (high, low) = (random.next_u64(), random.next_u64());
        let digits = format!("{high:016x}{low:016x}");
        format!(
            "{}-{}-{}-{}-{}",
            &digits[..8],
            &digits[8..12],
            &digits[12..16],
            &digits[16..20],
            &digits[20..]
        )
    })
}

/// Makes addresses of pages: few hosts, sections that many pages share, and pages that differ late.
#[must_use]
pub fn urls(seed: u64, sources: usize, items: usize) -> Vec<Vec<String>> {
    const HOSTS: [&str; 5] =
        ["docs.example.org", "example.com", "shop.example.com", "www.example.com", "www.example.net"];
    let mut random = Random::seed(seed);
    each(seed, sources, items, || {
        let (host, section) = (random.below(HOSTS.len()), random.below(30));
        let mut url = format!("https://{}/catalogue/section-{section:02}", HOSTS[host]);
        for _ in 0..=random.below(2) {
            url.push('/');
            url.push_str(&word(&mut random));
        }
        if random.chance(0.5) {
            url = format!("{url}?page={}&sort=price", random.below(400));
        }
        url
    })
}

/// Makes words of one to four syllables, of which short ones come often.
#[must_use]
pub fn words(seed: u64, sources: usize, items: usize) -> Vec<Vec<String>> {
    let mut random = Random::seed(seed);
    each(seed, sources, items, || word(&mut random))
}

/// Makes paths of files, three to six folders deep.
#[must_use]
pub fn paths(seed: u64, sources: usize, items: usize) -> Vec<Vec<String>> {
    let mut random = Random::seed(seed);
    // Folders have few names, files have many.
    let folders: Vec<_> = (0..40).map(|_| word(&mut random)).collect();
    each(seed, sources, items, || {
        let mut path = String::from("/home/build/workspace");
        for _ in 0..2 + random.below(4) {
            path.push('/');
            path.push_str(&folders[random.below(folders.len())]);
        }
        format!("{path}/{}_{}.rs", word(&mut random), random.below(100))
    })
}

fn word(random: &mut Random) -> String {
    const BEGINNINGS: [&str; 16] =
        ["b", "br", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "st", "t", "v"];
    const ENDINGS: [&str; 10] = ["a", "an", "e", "en", "er", "i", "is", "o", "on", "u"];
    let syllables = 1 + random.below(2) + random.below(3);
    (0..syllables)
        .map(|_| [BEGINNINGS[random.below(BEGINNINGS.len())], ENDINGS[random.below(ENDINGS.len())]].concat())
        .collect()
}

/// Deals strings to sources at random.
fn each(seed: u64, sources: usize, items: usize, mut make: impl FnMut() -> String) -> Vec<Vec<String>> {
    let mut random = Random::seed(!seed);
    dealt(sources, items, |runs| {
        for _ in 0..items {
            runs[random.below(sources)].push(make());
        }
    })
}

fn dealt<T: Ord>(sources: usize, items: usize, deal: impl FnOnce(&mut [Vec<T>])) -> Vec<Vec<T>> {
    let share = items.checked_div(sources).unwrap_or(0);
    let mut runs: Vec<_> = (0..sources).map(|_| Vec::with_capacity(share)).collect();
    if sources > 0 {
        deal(&mut runs);
    }
    for run in &mut runs {
        run.sort_unstable();
    }
    runs
}
