//! A forward pass allocates nothing, on one thread or many. This file has one test alone, because other tests would
//! allocate at the same time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use resmlp_network::AffinePlacement;
use resmlp_network::fold;
use resmlp_quantise::pack::{self, Extras};
use resmlp_runtime::{
    AlignedBytes, Engine, Fit, Kernels, Model, ParallelFor, Preprocessing, Resize, Serial, Threads, top,
};
use resmlp_testing::quantised::Style;
use resmlp_testing::{Random, Shape};

/// The system's allocator, which counts allocations.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: both functions pass the call on to the system's allocator, which keeps the promises of `GlobalAlloc`. The
// default `realloc` and `alloc_zeroed` call `alloc`.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller promises that `layout` has a size other than zero, as `System` demands.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` comes from `System.alloc` with the same `layout`, because `alloc` above returns nothing else
        // and the caller promises that the block is one of this allocator's.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(task: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    task();
    ALLOCATIONS.load(Ordering::SeqCst) - before
}

fn check<P: ParallelFor>(file: &[u8], kernels: &'static Kernels, parallel: P, picture: &[u8]) {
    let workers = parallel.workers();
    let engine = Engine::new(Model::parse(file).unwrap(), kernels, parallel).unwrap();
    let mut logits = vec![0.0; engine.model().dims().outputs];
    let mut scratch = vec![0; engine.scratch_len()];
    // A new thread allocates when it starts, which may be after the call that creates it. The first run waits for all
    // threads.
    engine.run(picture, &mut scratch, &mut logits).unwrap();
    let count = allocations(|| {
        for _ in 0..20 {
            engine.run(picture, &mut scratch, &mut logits).unwrap();
            assert!(!top::<5>(&logits).is_empty());
        }
    });
    assert_eq!(count, 0, "{} on {workers} threads", kernels.name());
    // Opening a model allocates nothing either, because firmware has no heap.
    let opened = allocations(|| assert!(Engine::new(Model::parse(file).unwrap(), kernels, Serial).is_ok()));
    assert_eq!(opened, 0, "{} opening", kernels.name());
}

#[test]
fn a_forward_pass_allocates_nothing() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8]))), 1, "the counter counts");
    let shape = Shape { image: [20, 12], patch: 4, dim: 19, hidden: 45, depth: 2, classes: Some(7) };
    let preprocessing =
        Preprocessing { resize: Resize::Bicubic, fit: Fit::Crop, crop: 1.0, mean: [0.5; 3], std: [0.5; 3] };
    let extras = Extras { labels: vec![], preprocessing, provenance: String::new() };
    let mut random = Random(5);
    let picture: Vec<u8> = (0..20 * 12 * 3).map(|_| random.bits() as u8).collect();
    let int8 = random.quantised(&shape, Style { extreme: false, gains: true });
    let folded = fold(&random.network(&shape, AffinePlacement::Branch), [0.5; 3], [0.5; 3]);
    for kernels in Kernels::supported() {
        let layout = kernels.layout().unwrap_or(resmlp_runtime::Layout::DEFAULT);
        for file in [pack::int8(&int8, layout, &extras).unwrap(), pack::f16(&folded, &extras).unwrap()] {
            let file = AlignedBytes::from(&*file);
            check(&file, kernels, Serial, &picture);
            for count in [1, 2, 5] {
                check(&file, kernels, Threads::new(count).unwrap(), &picture);
            }
        }
    }
}
