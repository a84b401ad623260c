//! Codes that a merge hands on, in random ways to drive it: each is the right one, or unknown.

use losertree::key::{ByOffsetCode, Coded, Natural, OffsetCode};
use losertree::stream::OrderCheck;
use losertree::{ProxyResponseLoserTree, SortKey, merge, merge_coded};
use losertree_testkit::{Item, Random, Runs, Script, Stage, TestKey, assert_merged, merged};

type CodedItem<K> = Coded<Item<K>>;

fn assert_right_or_unknown<K: TestKey>(coded: &[CodedItem<K>]) -> usize {
    let mut unknown = 0;
    for pair in coded.windows(2) {
        let expected = OffsetCode::after(&pair[0].item, &pair[1].item);
        let code = pair[1].code;
        unknown += usize::from(code == OffsetCode::UNKNOWN);
        assert!(
            code == OffsetCode::UNKNOWN || Some(code) == expected,
            "{code:?}, not {expected:?}: {pair:?}"
        );
    }
    unknown
}

fn with_codes<K: TestKey>(run: Vec<Item<K>>) -> Vec<CodedItem<K>> {
    Coded::with_codes(run).collect()
}

/// Puts some items out of order.
fn disorder<K: TestKey>(runs: Runs<K>, random: &mut Random, p: f64) -> Vec<Vec<Item<K>>> {
    let mut runs = runs.into_vec();
    for run in &mut runs {
        for at in 1..run.len() {
            if random.chance(p) {
                let other = random.below(at);
                run.swap(at, other);
            }
        }
    }
    runs
}

fn asynchronous<K: TestKey + PartialEq + Sync + Send + Unpin>(seed: u64) {
    let random = &mut Random::seed(seed);
    let runs = Runs::<K>::random(random, 60);
    let p = if random.chance(0.5) { 0.0 } else { 0.05 };
    let runs = disorder(runs, random, p);
    let mut pushed =
        if random.chance(0.5) { disorder(Runs::<K>::random(random, 30), random, p) } else { vec![] };
    let pauses = if random.chance(0.3) { 0.0 } else { 0.2 };
    let stage = Stage::new();
    let script =
        |run: Vec<Item<K>>, random: &mut Random| Script::of(with_codes(run)).with_pauses(random, pauses);
    let scripts: Vec<_> = runs.iter().cloned().map(|run| script(run, random)).collect();
    let builder = ProxyResponseLoserTree::builder().sources(stage.sources(scripts)).order(ByOffsetCode);
    let check = random.below(4);
    let builder = match check {
        0 => builder.order_check(OrderCheck::Report),
        1 => builder.order_check(OrderCheck::Fail),
        _ => builder,
    };
    let warning =
        with_codes(vec![Item::new(K::generate(random, losertree_testkit::Domain::Few), usize::MAX, 0)])
            .remove(0);
    let warning_item = std::sync::Mutex::new(warning);
    let mut merge = builder.warn_with(move |_| warning_item.lock().unwrap().clone()).build();
    let mut driver = stage.driver(seed);
    let mut out = Vec::new();
    let mut all: Vec<_> = runs.iter().flatten().map(Item::identity).collect();
    let mut was_pushed = false;
    loop {
        if !pushed.is_empty() && random.chance(0.2) {
            let index = merge.stats().sources.len();
            let mut run = pushed.pop().unwrap();
            for item in &mut run {
                item.source = index;
            }
            let identities: Vec<_> = run.iter().map(Item::identity).collect();
            if merge.push(stage.source(script(run, random))).is_ok() {
                all.extend(identities);
                was_pushed = true;
            }
        }
        let max = 1 + random.below(20);
        if random.chance(0.5) {
            if driver.complete(merge.next_ready(&mut out, max)).unwrap().unwrap() == 0 {
                break;
            }
        } else {
            let run = driver.run_up_to(&mut merge, max);
            out.extend(run.items.into_iter().map(Result::unwrap));
            if run.end == losertree_testkit::End::Finished {
                break;
            }
        }
    }
    out.retain(|coded| coded.item.source != usize::MAX);
    let unknown = assert_right_or_unknown(&out);
    if p == 0.0 && !was_pushed {
        assert_eq!(unknown, 0);
        assert_merged(&out.iter().map(|coded| coded.item.clone()).collect::<Vec<_>>(), &runs);
    }
    let mut found: Vec<_> = out.iter().map(|coded| coded.item.identity()).collect();
    found.sort_unstable();
    all.sort_unstable();
    if check == 1 {
        found.dedup();
        assert!(found.iter().all(|identity| all.contains(identity)) && found.len() == out.len());
    } else {
        assert_eq!(found, all);
    }
    stage.log().assert_closed();
}

#[test]
fn an_async_merge_hands_on_right_codes_or_none() {
    for seed in 0..400 {
        asynchronous::<Vec<u8>>(seed);
        asynchronous::<String>(seed);
        asynchronous::<(Vec<u8>, Option<String>)>(seed);
    }
}

fn sync_mix<K: TestKey + PartialEq>(seed: u64) {
    let random = &mut Random::seed(seed);
    let runs = Runs::<K>::random(random, 60);
    let mut expected = merged(runs.as_slice()).into_iter();
    let mut merge = merge_coded(runs.clone().into_vec().into_iter().map(with_codes));
    let mut plain = losertree::merge(runs.clone().into_vec());
    let (mut out, mut out_plain) = (Vec::new(), Vec::new());
    for _ in 0..random.below(12) {
        let max = random.below(10);
        match random.below(4) {
            0 => {
                merge.peek();
                plain.peek();
            }
            1 => {
                out.extend(merge.next());
                out_plain.extend(plain.next());
            }
            _ => {
                merge.next_block(&mut out, max);
                plain.next_block(&mut out_plain, max);
            }
        }
    }
    assert_eq!(assert_right_or_unknown(&out), 0);
    let begin: Vec<_> = expected.by_ref().take(out.len()).collect();
    assert_eq!(out.iter().map(|coded| coded.item.clone()).collect::<Vec<_>>(), begin);
    assert_eq!(out_plain, begin);
    let rest: Vec<_> = expected.collect();
    let mut distinct = rest.clone();
    distinct.dedup_by(|b, a| a.key.compare(&b.key).is_eq());
    assert!(merge.clone().dedup().map(|coded| coded.item).eq(distinct.iter().cloned()));
    let counted: usize = plain
        .clone()
        .coalesce(|sum: &mut Item<K>, next| sum.sequence = sum.sequence.max(next.sequence))
        .count();
    assert_eq!(counted, distinct.len());
    assert!(plain.clone().dedup().eq(distinct.iter().cloned()));
    let coded: Vec<_> = plain.clone().coded().collect();
    assert_eq!(assert_right_or_unknown(&coded), 0);
    assert!(coded.into_iter().map(|coded| coded.item).eq(rest.iter().cloned()));
    let mut folded = out;
    folded = merge.clone().fold(folded, |mut all, item| {
        all.push(item);
        all
    });
    assert_eq!(assert_right_or_unknown(&folded), 0);
    let undrained = merge.into_sources();
    let runs: Vec<Vec<_>> =
        undrained.into_iter().map(|it| it.head.into_iter().chain(it.source).collect()).collect();
    assert_eq!(runs.iter().map(Vec::len).sum::<usize>(), rest.len());
    let again: Vec<_> = merge_coded(runs).collect();
    assert_eq!(assert_right_or_unknown(&again), 0);
    assert!(again.into_iter().map(|coded| coded.item).eq(rest));
}

#[test]
fn sync_merges_know_repeated_items_whichever_way_they_are_taken() {
    for seed in 0..400 {
        sync_mix::<Vec<u8>>(seed);
        sync_mix::<String>(seed);
        sync_mix::<(Vec<u8>, Option<String>)>(seed);
    }
}

/// However the tournament is played.
#[test]
fn of_sources_out_of_order_the_smallest_head_comes_next() {
    for seed in 0..1000 {
        let random = &mut Random::seed(seed);
        let runs = disorder(Runs::<Vec<u8>>::random(random, 60), random, 0.2);
        let model = {
            let mut runs: Vec<std::collections::VecDeque<_>> = runs.iter().cloned().map(Into::into).collect();
            let mut out = Vec::new();
            while let Some(run) =
                runs.iter_mut().filter(|run| !run.is_empty()).min_by(|a, b| a[0].compare(&b[0]))
            {
                out.extend(run.pop_front());
            }
            out
        };
        let mut out = Vec::new();
        let mut merged = merge(runs.clone());
        while merged.next_block(&mut out, 7) > 0 {}
        assert_eq!(out, model);
        let coded: Vec<_> = losertree::merge_with(runs.clone(), Natural).coded().collect();
        assert_right_or_unknown(&coded);
        assert!(coded.iter().map(|coded| &coded.item).eq(&model));
        let coded: Vec<_> = merge_coded(runs.iter().cloned().map(with_codes)).collect();
        assert_right_or_unknown(&coded);
        assert!(coded.iter().map(|coded| &coded.item).eq(&model));
    }
}
