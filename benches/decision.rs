//! `cargo bench --bench decision`: what the decision about one request costs, in nanoseconds.
//!
//! The parts first (format and checksum, hash, the copy of a principal), so that a slower whole can be
//! traced to its part. For a figure that a noisy machine cannot blur, see `instructions.rs`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use genkan::model::key::{PlainKey, PresentedKey};

#[path = "support/gateways.rs"]
mod gateways;
#[path = "support/samples.rs"]
mod samples;

fn parts(criterion: &mut Criterion) {
    let key = samples::key_text();
    let key = key.as_bytes();
    let mistyped = samples::mistyped(key);
    let principal = samples::principal();
    let gateway = gateways::LocalGateway::open();
    assert!(
        gateway.decide().is_some(),
        "the key is remembered and opens"
    );
    let mut group = criterion.benchmark_group("decision");
    group.bench_function("the whole, on a hit", |bencher| {
        bencher.iter(|| gateway.decide());
    });
    group.bench_function("format and checksum", |bencher| {
        bencher.iter(|| PresentedKey::parse(black_box(key)));
    });
    group.bench_function("format, checksum and hash", |bencher| {
        bencher.iter(|| PresentedKey::parse(black_box(key)).map(PresentedKey::hash));
    });
    group.bench_function("a mistyped key", |bencher| {
        bencher.iter(|| PresentedKey::parse(black_box(&mistyped)).map(PresentedKey::hash));
    });
    group.bench_function("copy of a principal", |bencher| {
        bencher.iter(|| black_box(&principal).clone());
    });
    group.finish();
}

/// Not on a request's way, but what `keys create` waits for.
fn creation(criterion: &mut Criterion) {
    criterion.bench_function("a new key", |bencher| {
        bencher.iter(|| PlainKey::generate(&samples::ConstantEntropy));
    });
}

criterion_group!(benches, parts, creation);
criterion_main!(benches);
