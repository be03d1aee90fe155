//! Calls the C functions correctly and wrongly, and checks what they return.

#[path = "../../../runtime/examples/random_model/model.rs"]
mod model;

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering};

use resmlp::resmlp_status as Status;
use resmlp::*;
use resmlp_runtime::{AlignedBytes, Dims, Engine, Kernels, Layout, Model, Serial, WeightStorage};

const DIMS: Dims = Dims {
    weights: WeightStorage::Int8,
    image: [16, 24],
    patch: 4,
    dim: 20,
    hidden: 52,
    depth: 1,
    outputs: 7,
    has_head: true,
    has_gains: false,
    layout: Layout::DEFAULT,
};

/// Number of bytes of a picture.
const LEN: usize = 16 * 24 * 3;

/// Returns an object of zeros, as C has it before it is initialised.
fn zeros<T>() -> T {
    // SAFETY: the callers' types consist of integers, floating-point numbers and raw pointers, for which zeros are
    // valid.
    unsafe { std::mem::zeroed() }
}

fn parsed(bytes: &AlignedBytes) -> resmlp_model {
    let mut model = zeros();
    // SAFETY: the bytes outlive the model in every test.
    assert_eq!(unsafe { resmlp_parse(&mut model, bytes.as_ptr(), bytes.len()) }, Status::Ok as i32);
    model
}

fn bound(model: &resmlp_model, parallel: *const resmlp_parallel) -> (resmlp_engine, i32) {
    let mut engine = zeros();
    // SAFETY: the model's bytes outlive the engine in every test, and `parallel` is NULL or points to an object.
    let status = unsafe { resmlp_engine_init(&mut engine, model, null(), parallel) };
    (engine, status)
}

fn run(engine: &resmlp_engine) -> (i32, Vec<f32>) {
    let picture: Vec<u8> = (0..LEN).map(|i| (i * i % 251) as u8).collect();
    // SAFETY: the engine is initialised or consists of zeros.
    let len = unsafe { resmlp_scratch_len(engine) };
    let (mut scratch, mut logits) = (vec![0; len], vec![0.0; 7]);
    // SAFETY: each pointer is passed with the length of its vector.
    let status = unsafe {
        resmlp_run(engine, picture.as_ptr(), picture.len(), scratch.as_mut_ptr(), len, logits.as_mut_ptr(), 7)
    };
    (status, logits)
}

fn rust_logits(bytes: &AlignedBytes) -> Vec<f32> {
    let engine = Engine::new(Model::parse(bytes).unwrap(), Kernels::scalar(), Serial).unwrap();
    let picture: Vec<u8> = (0..LEN).map(|i| (i * i % 251) as u8).collect();
    let (mut scratch, mut logits) = (vec![0; engine.scratch_len()], vec![0.0; 7]);
    engine.run(&picture, &mut scratch, &mut logits).unwrap();
    logits
}

#[test]
fn logits_and_best_classes_are_the_same_as_in_rust() {
    let bytes = model::random_model(&DIMS);
    let model = parsed(&bytes);
    let (engine, status) = bound(&model, null());
    assert_eq!(status, Status::Ok as i32);
    let (status, logits) = run(&engine);
    assert_eq!((status, &logits), (Status::Ok as i32, &rust_logits(&bytes)));
    let mut best = [resmlp_class { index: 0, logit: 0.0 }; 3];
    // SAFETY: `logits` has 7 elements, and a `count` above the length of `best` is refused.
    let top = |count, best: &mut [resmlp_class]| unsafe { resmlp_top(logits.as_ptr(), 7, best.as_mut_ptr(), count) };
    assert_eq!(top(3, &mut best), Status::Ok as i32);
    let expected = resmlp_runtime::top::<3>(&logits);
    assert!(best.iter().zip(&expected).all(|(b, e)| (b.index as usize, b.logit) == *e));
    assert_eq!(top(8, &mut best), Status::Range as i32);
    let mut info = zeros();
    // SAFETY: both are initialised.
    assert_eq!(unsafe { resmlp_model_info(&model, &mut info) }, Status::Ok as i32);
    assert_eq!((info.height, info.width, info.image_len, info.outputs, info.labels), (16, 24, LEN, 7, 0));
}

#[test]
fn null_unaligned_and_uninitialised_are_refused() {
    let bytes = model::random_model(&DIMS);
    let mut model = parsed(&bytes);
    let mut moved = AlignedBytes::zeroed(bytes.len() + 64);
    moved[8..][..bytes.len()].copy_from_slice(&bytes);
    let own: *const resmlp_model = &model;
    let refused = [
        // SAFETY: the call is refused before the pointers are used, and so are those below.
        (Status::Null, unsafe { resmlp_parse(null_mut(), bytes.as_ptr(), bytes.len()) }),
        // SAFETY: the call is refused before the pointers are used.
        (Status::Null, unsafe { resmlp_parse(&mut model, null(), bytes.len()) }),
        // SAFETY: the call is refused before the pointers are used.
        (Status::Misaligned, unsafe { resmlp_parse(&mut model, moved[8..].as_ptr(), bytes.len()) }),
        // SAFETY: the call is refused before the pointers are used.
        (Status::Range, unsafe { resmlp_parse(&mut model, bytes.as_ptr(), usize::MAX) }),
        // SAFETY: the call is refused before the pointers are used.
        (Status::Overlap, unsafe { resmlp_parse(own.cast_mut(), own.cast(), 64) }),
        // SAFETY: the call is refused before the pointers are used.
        (Status::Misaligned, unsafe { resmlp_parse(own.cast::<u8>().add(1).cast_mut().cast(), bytes.as_ptr(), 0) }),
        (Status::Uninitialised, bound(&zeros(), null()).1),
        (Status::Uninitialised, run(&zeros()).0),
        // A failed call has cleared the model's mark.
        (Status::Uninitialised, bound(&model, null()).1),
    ];
    for (index, (expected, found)) in refused.into_iter().enumerate() {
        assert!(found == expected as i32 || found == Status::Overlap as i32 && index == 3, "case {index}: {found}");
    }
}

#[test]
fn memory_that_an_object_would_overlap_is_not_changed() {
    let mut bytes = model::random_model(&DIMS);
    let before = bytes.to_vec();
    let within = bytes[64..].as_mut_ptr().cast();
    // SAFETY: the calls below are refused before the pointers are used.
    assert_eq!(unsafe { resmlp_parse(within, bytes.as_ptr(), bytes.len()) }, Status::Overlap as i32);
    assert!(*bytes == *before);
    let mut model = parsed(&bytes);
    for word in 1..size_of::<resmlp_model>() / 8 {
        let own = &raw mut model;
        let within = own.cast::<u64>().wrapping_add(word).cast();
        // SAFETY: as above.
        assert_eq!(unsafe { resmlp_engine_init(within, own, null(), null()) }, Status::Overlap as i32);
    }
    let (engine, status) = bound(&model, null());
    assert_eq!(status, Status::Ok as i32);
    assert_eq!(run(&engine), (Status::Ok as i32, rust_logits(&bytes)));
}

/// For every function that writes: what it writes may overlap nothing that it reads. Each row moves the place that is
/// written through the whole length of something that is read, eight bytes at a time.
#[test]
fn every_pair_of_arguments_that_overlap_is_refused() {
    let mut bytes = model::random_model(&DIMS);
    let mut parallel = resmlp_parallel { workers: 1, for_each: Some(forgetful), context: null_mut() };
    let mut name = [0u64; 8];
    name[0] = u64::from_ne_bytes(*b"scalar\0\0");
    let mut model = parsed(&bytes);
    let (mut engine, status) = bound(&model, null());
    assert_eq!(status, Status::Ok as i32);
    let mut logits = [1.0f32; 64];
    let (model, engine, parallel) = (&raw mut model, &raw mut engine, &raw mut parallel);
    let kernels = name.as_mut_ptr().cast::<c_char>();
    let file = (bytes.as_mut_ptr(), bytes.len());
    let [of_model, of_engine] =
        [(model.cast(), size_of::<resmlp_model>()), (engine.cast(), size_of::<resmlp_engine>())];
    let of_parallel = (parallel.cast(), size_of::<resmlp_parallel>());
    let of_logits = (logits.as_mut_ptr().cast::<u8>(), size_of_val(&logits));
    type Write<'a> = &'a dyn Fn(*mut u8) -> i32;
    // SAFETY: the objects are initialised, and what is refused is not touched, here and below.
    let init = |place: *mut u8| unsafe { resmlp_engine_init(place.cast(), model, kernels, parallel) };
    // SAFETY: as above.
    let info: Write = &|place| unsafe { resmlp_model_info(model, place.cast()) };
    // SAFETY: as above.
    let label: Write = &|place| unsafe { resmlp_model_label(model, 0, place.cast()) };
    // SAFETY: as above.
    let name: Write = &|place| unsafe { resmlp_engine_kernels(engine, place.cast()) };
    // SAFETY: as above.
    let top: Write = &|place| unsafe { resmlp_top(of_logits.0.cast(), 64, place.cast(), 3) };
    // SAFETY: as above.
    let parse: Write = &|place| unsafe { resmlp_parse(place.cast(), file.0, file.1) };
    let rows: [(&str, Write, usize, (*mut u8, usize)); 12] = [
        ("parse: bytes", parse, size_of::<resmlp_model>(), file),
        ("info: model", info, size_of::<resmlp_info>(), of_model),
        ("info: bytes", info, size_of::<resmlp_info>(), file),
        ("kernels: engine", name, size_of::<resmlp_text>(), of_engine),
        ("kernels: bytes", name, size_of::<resmlp_text>(), file),
        ("init: model", &init, size_of::<resmlp_engine>(), of_model),
        ("init: bytes", &init, size_of::<resmlp_engine>(), file),
        ("init: parallel", &init, size_of::<resmlp_engine>(), of_parallel),
        ("init: name", &init, size_of::<resmlp_engine>(), (kernels.cast(), 7)),
        ("top: logits", top, 3 * size_of::<resmlp_class>(), of_logits),
        ("label: model", label, size_of::<resmlp_text>(), of_model),
        ("label: bytes", label, size_of::<resmlp_text>(), file),
    ];
    let before = bytes.to_vec();
    for (what, write, written, read) in rows {
        // The first place ends eight bytes within what is read, and the last one begins before its end.
        let places = (0..written + read.1 - 8).step_by(8);
        for place in places.map(|at| read.0.wrapping_add(at).wrapping_sub((written - 8) & !7)) {
            if (place as usize) < read.0 as usize + read.1 && (place as usize) + written > read.0 as usize {
                assert_eq!(write(place), Status::Overlap as i32, "{what} at {place:?}, read at {:?}", read.0);
            }
        }
    }
    // What was refused has changed nothing.
    assert!(*bytes == *before && logits == [1.0; 64]);
    // SAFETY: the engine is initialised.
    assert_eq!(run(unsafe { &*engine }), (Status::Ok as i32, rust_logits(&bytes)));
}

#[test]
fn wrong_lengths_and_overlaps_are_refused() {
    let bytes = model::random_model(&DIMS);
    let model = parsed(&bytes);
    let (engine, _) = bound(&model, null());
    // SAFETY: the engine is initialised.
    let len = unsafe { resmlp_scratch_len(&engine) };
    let mut memory = vec![0u64; len / 8 + 400];
    let start = memory.as_mut_ptr().cast::<u8>();
    let mut other = vec![0u64; 400];
    let other = other.as_mut_ptr().cast::<u8>();
    // All offsets are multiples of eight, except one that is misaligned on purpose.
    let run = |image: (*mut u8, usize), scratch: (*mut u8, usize), logits: (*mut u8, usize)| {
        let image = (image.0.cast_const(), image.1);
        // SAFETY: every range lies inside an allocation, or the call is refused before it is used.
        unsafe { resmlp_run(&engine, image.0, image.1, scratch.0, scratch.1, logits.0.cast(), logits.1) }
    };
    let (good, image, logits) = ((start, len), (other, LEN), (other.wrapping_add(1600), 7));
    let cases = [
        (Status::Ok, run(image, good, logits)),
        (Status::Image, run((other, LEN - 1), good, logits)),
        (Status::Scratch, run(image, (start, len - 64), logits)),
        (Status::Logits, run(image, good, (logits.0, 6))),
        (Status::Null, run(image, (null_mut(), len), logits)),
        (Status::Misaligned, run(image, good, (other.wrapping_add(1601), 7))),
        (Status::Overlap, run((start.wrapping_add(len - 8), LEN), good, logits)),
        (Status::Overlap, run(image, good, (start, 7))),
        (Status::Overlap, run(image, good, (other.wrapping_add(LEN - 8), 7))),
        (Status::Overlap, run(image, (bytes.as_ptr().cast_mut(), bytes.len()), logits)),
        (Status::Range, run((other, usize::MAX), good, (start.wrapping_add(len + 64), 7))),
    ];
    for (index, (expected, found)) in cases.into_iter().enumerate() {
        let also = index == 10 && found == Status::Overlap as i32; // The range reaches over everything after it.
        assert!(found == expected as i32 || also, "case {index}: {found}");
    }
}

#[test]
fn every_status_has_a_text_and_kernels_have_names() {
    let text = |status| {
        let text = resmlp_status_text(status);
        // SAFETY: every text of a status ends with a zero and is never freed.
        unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
    };
    let texts: std::collections::BTreeSet<String> = (-1..18).map(text).collect();
    assert_eq!(texts.len(), 18, "there are texts for 0 to 16 and one for all other numbers");
    let mut name: resmlp_text = zeros();
    let mut count = 0;
    // SAFETY: `name` is valid for writes.
    while unsafe { resmlp_kernels_name(count, &mut name) } == Status::Ok as i32 {
        // SAFETY: the function has written a name, whose text is never freed.
        let bytes = unsafe { std::slice::from_raw_parts(name.start.cast::<u8>(), name.length) };
        assert_eq!(Some(bytes), Kernels::supported().nth(count).map(|kernels| kernels.name().as_bytes()));
        count += 1;
    }
    assert_eq!(count, Kernels::supported().count());
    let bytes = model::random_model(&DIMS);
    let model = parsed(&bytes);
    let with = |kernels: &CStr| {
        let mut engine = zeros();
        // SAFETY: the model is initialised, and the name ends with a zero.
        unsafe { resmlp_engine_init(&mut engine, &model, kernels.as_ptr() as *const c_char, null()) }
    };
    assert_eq!(with(c"scalar"), Status::Ok as i32);
    for unknown in [c"", c"scala", c"scalars"] {
        assert_eq!(with(unknown), Status::Kernels as i32);
    }
}

/// Calls every task below a limit twice, calls two indices that are out of range, and leaves out the tasks above the
/// limit.
extern "C" fn forgetful(context: *mut c_void, count: usize, task: resmlp_task, data: *mut c_void) {
    // SAFETY: the test passes a pointer to an `AtomicUsize` as the context.
    let limit = unsafe { &*context.cast::<AtomicUsize>() }.load(Ordering::Relaxed);
    for index in (0..count.min(limit)).chain(0..count.min(limit)).chain([count, usize::MAX]) {
        task(data, index);
    }
}

#[test]
fn a_parallel_function_that_repeats_tasks_does_no_harm_and_one_that_leaves_out_tasks_is_noticed() {
    let bytes = model::random_model(&DIMS);
    let model = parsed(&bytes);
    let limit = AtomicUsize::new(usize::MAX);
    let context = (&raw const limit).cast_mut().cast();
    let parallel = resmlp_parallel { workers: 3, for_each: Some(forgetful), context };
    let (engine, status) = bound(&model, &parallel);
    assert_eq!(status, Status::Ok as i32);
    assert_eq!(run(&engine), (Status::Ok as i32, rust_logits(&bytes)));
    limit.store(1, Ordering::Relaxed);
    assert_eq!(run(&engine).0, Status::Parallel as i32);
    limit.store(usize::MAX, Ordering::Relaxed);
    assert_eq!(run(&engine), (Status::Ok as i32, rust_logits(&bytes)));
    for workers in [0, RESMLP_WORKERS_MAX + 1, usize::MAX] {
        assert_eq!(bound(&model, &resmlp_parallel { workers, ..parallel }).1, Status::Range as i32);
    }
    assert_eq!(bound(&model, &resmlp_parallel { for_each: None, ..parallel }).1, Status::Null as i32);
}
