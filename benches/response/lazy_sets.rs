//! What receiving in the background costs: lazy response sets against a channel for each store and a heap.
//!
//! Each frame has one series of 64 bytes of labels, and no chunks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::convert::Infallible;
use std::hint::black_box;
use std::rc::Rc;

use futures::StreamExt;
use losertree::response::{ResponseSet, ResponseSetOptions, SeriesOrder, Store};
use losertree::{Labels, ProxyResponseLoserTree, Response, Series, Source, from_stream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use crate::row::{Answers, Ready, Row, timed};

const SOURCES: usize = 16;
const SERIES: usize = 1 << 11;
/// How many frames are buffered for each store.
const BUFFER: usize = 64;

fn answers() -> Answers {
    let series = |number: usize| {
        let pod = format!("{number:08}-{:016x}", number * 0x9E37_79B9);
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "api"), ("pod", pod.as_str())]).unwrap();
        Response::from(Series::new(labels, vec![]))
    };
    let spread = |number: usize| (number * 0x9E37_79B9) >> 7;
    (0..SOURCES)
        .map(|source| {
            let mine = |number: &usize| spread(*number) % SOURCES == source;
            (0..SOURCES * SERIES).filter(mine).map(series).collect()
        })
        .collect()
}

/// A task that sends an answer through a channel.
fn channel(answer: Vec<Response>) -> mpsc::Receiver<Response> {
    let (sender, receiver) = mpsc::channel(BUFFER);
    tokio::spawn(async move {
        for response in answer {
            if sender.send(response).await.is_err() {
                return;
            }
        }
    });
    receiver
}

fn labels(response: Response) -> Labels {
    response.into_series().unwrap().labels
}

async fn channels_and_heap(answers: Answers, mut each: impl FnMut(Labels)) {
    let mut receivers: Vec<_> = answers.into_iter().map(channel).collect();
    let mut heap = BinaryHeap::new();
    for (source, receiver) in receivers.iter_mut().enumerate() {
        heap.extend(receiver.recv().await.map(|response| Reverse((labels(response), source))));
    }
    while let Some(Reverse((least, source))) = heap.pop() {
        each(least);
        heap.extend(receivers[source].recv().await.map(|response| Reverse((labels(response), source))));
    }
}

async fn merge<S>(stores: impl Iterator<Item = Store<S>>, mut each: impl FnMut(Labels))
where
    S: Source<Item = Response, Error = Infallible> + Unpin + Send + 'static,
{
    let options = ResponseSetOptions::new()
        .buffer_frames(BUFFER)
        .series_order(SeriesOrder::Trusted)
        .spawn_with(|task| drop(tokio::spawn(task)));
    let mut merge = ProxyResponseLoserTree::new(stores.map(|store| ResponseSet::new(store, &options)));
    while let Some(response) = merge.next().await {
        each(labels(response.unwrap()));
    }
}

async fn lazy_sets(answers: Answers, each: impl FnMut(Labels)) {
    merge(answers.into_iter().map(|answer| Store::opened("", Ready(answer.into_iter()))), each).await;
}

async fn channels_and_lazy_sets(answers: Answers, each: impl FnMut(Labels)) {
    let received = |mut receiver: mpsc::Receiver<Response>| {
        from_stream(futures::stream::poll_fn(move |cx| {
            receiver.poll_recv(cx).map(|response| response.map(Ok::<_, Infallible>))
        }))
    };
    merge(answers.into_iter().map(|answer| Store::opened("", received(channel(answer)))), each).await;
}

async fn merge_alone(answers: Answers, mut each: impl FnMut(Labels)) {
    let mut merge = ProxyResponseLoserTree::new(answers.into_iter().map(|answer| Ready(answer.into_iter())));
    while let Some(response) = merge.next().await {
        each(labels(response.unwrap()));
    }
}

async fn run(contender: usize, answers: Answers, each: impl FnMut(Labels)) {
    match contender {
        0 => channels_and_heap(answers, each).await,
        1 => lazy_sets(answers, each).await,
        2 => channels_and_lazy_sets(answers, each).await,
        _ => merge_alone(answers, each).await,
    }
}

const NAMES: [&str; 4] = ["channels and a heap", "lazy sets", "channels into lazy sets", "the merge alone"];

/// Asserts that all contenders give the same.
fn check(runtime: &Runtime, answers: &Answers) {
    let mut sorted: Vec<_> = answers.iter().flatten().cloned().map(labels).collect();
    sorted.sort();
    for (contender, name) in NAMES.iter().enumerate() {
        let mut merged = Vec::new();
        runtime.block_on(run(contender, answers.clone(), |labels| merged.push(labels)));
        assert!(merged == sorted, "{name} gives something else");
    }
}

pub(crate) fn rows() -> Vec<Row> {
    let answers = Rc::new(answers());
    let runtimes = [
        ("one thread", Builder::new_current_thread().enable_all().build().unwrap()),
        ("two workers", Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()),
    ];
    runtimes
        .map(|(name, runtime)| {
            check(&runtime, &answers);
            let runtime = Rc::new(runtime);
            let contender = |(contender, name): (usize, &&'static str)| {
                let runtime = Rc::clone(&runtime);
                timed(name, &answers, move |answers| {
                    runtime.block_on(run(contender, answers, |labels| drop(black_box(labels))));
                })
            };
            Row {
                name: format!("response/lazy/{SOURCES}/{name}"),
                series: SOURCES * SERIES,
                contenders: NAMES.iter().enumerate().map(contender).collect(),
            }
        })
        .into()
}
