//! The runtime's interface for C and C++. `include/resmlp.h` is generated from this package.
//!
//! Every function checks its arguments as far as they can be checked, and then calls the runtime. Without the feature
//! `std` (`cargo xtask test --only c`), the panic handler calls a function that is defined nowhere. A C program that
//! links therefore contains no panic.
#![no_std]
#![allow(non_camel_case_types)]

#[cfg(feature = "std")]
extern crate std;

mod memory;
mod parallel;
mod status;

use core::ffi::c_char;

use resmlp_runtime::{Engine, Fit, Kernels, Model, Resize, WeightStorage, top};

pub use parallel::{RESMLP_WORKERS_MAX, resmlp_parallel, resmlp_task};
pub use status::{resmlp_status, resmlp_status_text};

use memory::Place;
use parallel::Cores;
use resmlp_status as Status;

#[cfg(all(not(feature = "std"), not(debug_assertions)))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    unsafe extern "C" {
        /// This function is defined nowhere.
        fn resmlp_panic_is_reachable() -> !;
    }
    // SAFETY: the call is never executed, because no program that contains it can be linked.
    unsafe { resmlp_panic_is_reachable() }
}

/// Waits for ever. A build without optimisation keeps unreachable panics and checks for overflow, so it cannot use the
/// handler above.
#[cfg(all(not(feature = "std"), debug_assertions))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// The bytes of a model must start at a multiple of this number.
pub const RESMLP_ALIGNMENT: usize = 64;
/// Largest number of classes that resmlp_top() finds.
pub const RESMLP_TOP_MAX: usize = 16;

/// A validated model. It refers to the model's bytes, which must stay where they are, unchanged, as long as the object
/// is used.
///
/// Initialise the object with zeros: `resmlp_model model = {0};`
#[repr(C)]
pub struct resmlp_model {
    mark: u64,
    memory: [u64; 96],
}

// SAFETY: the type is `repr(C)`, its first field is the `u64` mark, and its other field is an array of `u64`.
unsafe impl Place for resmlp_model {
    type Object = Model<'static>;
    const MARK: u64 = u64::from_le_bytes(*b"rsmlpMod");
}

/// A model together with the kernels and threads that run it. It refers to the model's bytes, but not to the
/// resmlp_model.
///
/// Initialise the object with zeros: `resmlp_engine engine = {0};`
#[repr(C)]
pub struct resmlp_engine {
    mark: u64,
    memory: [u64; 112],
}

mod bound {
    use super::{Kernels, Model, resmlp_parallel};

    /// The contents of a `resmlp_engine`.
    #[derive(Clone)]
    pub struct Bound {
        pub model: Model<'static>,
        pub kernels: &'static Kernels,
        pub lent: Option<resmlp_parallel>,
    }
}
use bound::Bound;

// SAFETY: the type is `repr(C)`, its first field is the `u64` mark, and its other field is an array of `u64`.
unsafe impl Place for resmlp_engine {
    type Object = Bound;
    const MARK: u64 = u64::from_le_bytes(*b"rsmlpEng");
}

/// A text in UTF-8 that does not end with a zero. Print it with `printf("%.*s", (int)text.length, text.start)`.
#[repr(C)]
pub struct resmlp_text {
    /// The first byte.
    pub start: *const c_char,
    /// Number of bytes.
    pub length: usize,
}

impl From<&'static str> for resmlp_text {
    fn from(text: &'static str) -> Self {
        Self { start: text.as_ptr().cast(), length: text.len() }
    }
}

/// Properties of a model.
#[repr(C)]
pub struct resmlp_info {
    /// Height of a picture, pixels.
    pub height: u32,
    /// Width of a picture, pixels.
    pub width: u32,
    /// Number of bytes of a picture: height × width × 3.
    pub image_len: usize,
    /// Number of logits: the classes, or the channels of a model without a classifier.
    pub outputs: u32,
    /// Number of labels: the same as outputs, or 0 if the model carries no labels.
    pub labels: u32,
    /// 1 if the model has a classifier, 0 if it computes an embedding.
    pub has_head: u32,
    /// 1 if the weights are 16-bit floating-point numbers, 0 if they are 8-bit integers.
    pub is_f16: u32,
    /// The filter that resizes a picture before its centre is cut out: 1 for bicubic, 0 for bilinear, both with
    /// antialiasing.
    pub is_bicubic: u32,
    /// The shorter side of a picture is resized to the model's size divided by this number, unless is_squashed is 1.
    pub crop: f32,
    /// The activation function: 0 the exact GELU, 1 its tanh approximation, 2 ReLU.
    pub activation: u32,
    /// 1 where the whole picture is resized to the model's size and nothing is cut off, 0 where the centre is cut out.
    pub is_squashed: u32,
}

/// A class and its logit.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct resmlp_class {
    /// Number of the class, counted from 0.
    pub index: u32,
    /// Logit of the class.
    pub logit: f32,
}

/// Validates the `length` bytes of a packed model at `bytes`, and makes `model` a view of them. Nothing is copied.
///
/// @param model  receives the model. After an error it is not initialised, and after _NULL, _MISALIGNED and _OVERLAP
///               its memory is unchanged
/// @param bytes  the file's bytes, at a multiple of RESMLP_ALIGNMENT; they must stay there, unchanged, as long as the
///               model or an engine made from it is used
/// @return RESMLP_STATUS_OK, _NULL, _MISALIGNED, _RANGE, _OVERLAP, _NOT_A_MODEL, _VERSION, _DAMAGED or _MALFORMED
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resmlp_parse(model: *mut resmlp_model, bytes: *const u8, length: usize) -> i32 {
    let parse = || {
        // SAFETY: the caller keeps the rules at the top of the header: both pointers are valid for their types and
        // lengths, and the bytes stay unchanged. `apart` has checked that `model` overlaps no byte before anything is
        // written.
        unsafe {
            memory::non_null(model)?;
            let own = (model as usize, size_of::<resmlp_model>());
            memory::apart(1, &[own, (bytes as usize, length)])?;
            memory::clear(model)?;
            memory::put(model, Model::parse(memory::slice(bytes, length)?)?)
        }
    };
    Status::of(parse())
}

/// Writes the model's properties to `info`.
///
/// @return RESMLP_STATUS_OK, _NULL, _MISALIGNED, _UNINITIALISED or _OVERLAP
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resmlp_model_info(model: *const resmlp_model, info: *mut resmlp_info) -> i32 {
    let tell = || {
        // SAFETY: the caller keeps the rules at the top of the header: `model` is valid and no other thread writes it.
        let (model, read) = unsafe { (memory::get(model)?, memory::range(model, 1)) };
        let (dims, preprocessing) = (model.dims(), model.preprocessing());
        let [height, width] = dims.image;
        let told = resmlp_info {
            height: height as u32,
            width: width as u32,
            image_len: 3 * height * width,
            outputs: dims.outputs as u32,
            labels: model.labels().count() as u32,
            has_head: u32::from(dims.has_head),
            is_f16: u32::from(dims.weights == WeightStorage::F16),
            is_bicubic: u32::from(preprocessing.resize == Resize::Bicubic),
            crop: preprocessing.crop,
            activation: model.activation().code(),
            is_squashed: u32::from(preprocessing.fit == Fit::Squash),
        };
        // SAFETY: the caller keeps the rules at the top of the header: `info` is valid for writes.
        unsafe { memory::write(info, told, &[read, memory::range(model.bytes().as_ptr(), model.bytes().len())]) }
    };
    Status::of(tell())
}

/// Writes the name of class `index` to `label`. The text lies in the model's bytes.
///
/// @return RESMLP_STATUS_OK, _NULL, _MISALIGNED, _UNINITIALISED, _OVERLAP, or _RANGE if there is no such label
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resmlp_model_label(model: *const resmlp_model, index: usize, label: *mut resmlp_text) -> i32 {
    let tell = || {
        // SAFETY: the caller keeps the rules at the top of the header: `model` is valid and no other thread writes it.
        let (model, read) = unsafe { (memory::get(model)?, memory::range(model, 1)) };
        let read = [read, memory::range(model.bytes().as_ptr(), model.bytes().len())];
        memory::unshared(label, &read)?;
        let found = model.labels().nth(index).ok_or(Status::Range)?;
        // SAFETY: the caller keeps the rules at the top of the header: `label` is valid for writes.
        unsafe { memory::write(label, found.into(), &read) }
    };
    Status::of(tell())
}

/// Writes the name of the kernels at `index` among those that this CPU can run, fastest first, to `name`. The text is
/// never freed.
///
/// @return RESMLP_STATUS_OK, _NULL, _MISALIGNED, or _RANGE if `index` is not below the number of such kernels
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resmlp_kernels_name(index: usize, name: *mut resmlp_text) -> i32 {
    let tell = || {
        let kernels = Kernels::supported().nth(index).ok_or(Status::Range)?;
        // SAFETY: the caller keeps the rules at the top of the header: `name` is valid for writes.
        unsafe { memory::write(name, kernels.name().into(), &[]) }
    };
    Status::of(tell())
}

/// Makes an engine of a model, kernels and threads.
///
/// @param engine    receives the engine. After an error it is not initialised, and if `engine` itself is the cause of
///                  _NULL, _MISALIGNED or _OVERLAP, its memory is unchanged
/// @param kernels   a name that resmlp_kernels_name() gives, ended by a zero, or NULL for the fastest kernels that read
///                  the model's layout
/// @param parallel  the threads, copied into the engine, or NULL to use only the thread that calls resmlp_run()
/// @return RESMLP_STATUS_OK, _NULL, _MISALIGNED, _UNINITIALISED, _OVERLAP, _KERNELS, _LAYOUT, _RANGE (workers) or
///         _MALFORMED
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resmlp_engine_init(
    engine: *mut resmlp_engine,
    model: *const resmlp_model,
    kernels: *const c_char,
    parallel: *const resmlp_parallel,
) -> i32 {
    let bind = || {
        // SAFETY: the caller keeps the rules at the top of the header: each pointer is NULL or valid for its type, and
        // the name ends with a zero. `apart` has checked that `engine` overlaps nothing that is read before
        // anything is written.
        unsafe {
            memory::non_null(engine)?;
            let longest = Kernels::supported().map(|known| known.name().len()).max().unwrap_or(0);
            let text_len = if kernels.is_null() { 0 } else { memory::text_len(kernels, longest) };
            let own = memory::range(engine, 1);
            let lent = memory::range(parallel, usize::from(!parallel.is_null()));
            memory::apart(1, &[own, memory::range(model, 1), memory::range(kernels, text_len), lent])?;
            let model: Result<&Model<'static>, Status> = memory::get(model);
            let bytes = model.map_or(&[] as &[u8], Model::bytes);
            memory::apart(1, &[own, memory::range(bytes.as_ptr(), bytes.len())])?;
            memory::clear(engine)?;
            let model = model?;
            let kernels = match kernels.is_null() {
                true => Kernels::best(model.dims()),
                false => Kernels::supported().find(|known| memory::is(kernels, known.name())).ok_or(Status::Kernels)?,
            };
            let lent = if parallel.is_null() { None } else { Some(*memory::borrow(parallel)?) };
            if lent.is_some_and(|lent| !(1..=RESMLP_WORKERS_MAX).contains(&lent.workers)) {
                return Err(Status::Range);
            }
            if lent.is_some_and(|lent| lent.for_each.is_none()) {
                return Err(Status::Null);
            }
            Engine::new(model.clone(), kernels, Cores::new(lent))?;
            memory::put(engine, Bound { model: model.clone(), kernels, lent })
        }
    };
    Status::of(bind())
}

/// Writes the name of the engine's kernels to `name`. The text is never freed.
///
/// @return RESMLP_STATUS_OK, _NULL, _MISALIGNED, _UNINITIALISED or _OVERLAP
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resmlp_engine_kernels(engine: *const resmlp_engine, name: *mut resmlp_text) -> i32 {
    let tell = || {
        // SAFETY: the caller keeps the rules at the top of the header: `engine` is valid and no other thread writes it.
        let bound = unsafe { memory::get(engine)? };
        let bytes = bound.model.bytes();
        let read = [memory::range(engine, 1), memory::range(bytes.as_ptr(), bytes.len())];
        // SAFETY: the caller keeps the rules at the top of the header: `name` is valid for writes.
        unsafe { memory::write(name, bound.kernels.name().into(), &read) }
    };
    Status::of(tell())
}

/// Returns the number of bytes of scratch memory that resmlp_run() needs, at any alignment, or 0 if the engine is not
/// initialised.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resmlp_scratch_len(engine: *const resmlp_engine) -> usize {
    // SAFETY: the caller keeps the rules at the top of the header: `engine` is valid and no other thread writes it.
    let Ok(bound) = (unsafe { memory::get(engine) }) else { return 0 };
    let engine = Engine::new(bound.model.clone(), bound.kernels, Cores::new(bound.lent));
    engine.map_or(0, |engine| engine.scratch_len())
}

/// Runs the network on one picture.
///
/// @param image    resmlp_info.image_len bytes: rows from top to bottom, pixels from left to right, and of each pixel
///                 red, green and blue
/// @param scratch  resmlp_scratch_len() bytes or more, whose contents before and after the call do not matter
/// @param logits   receives resmlp_info.outputs numbers
/// @return RESMLP_STATUS_OK, _NULL, _MISALIGNED, _UNINITIALISED, _OVERLAP, _IMAGE, _SCRATCH, _LOGITS, _RANGE, _PARALLEL
/// or
///         _INTERNAL
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resmlp_run(
    engine: *const resmlp_engine,
    image: *const u8,
    image_len: usize,
    scratch: *mut u8,
    scratch_len: usize,
    logits: *mut f32,
    logits_len: usize,
) -> i32 {
    let run = || {
        // SAFETY: the caller keeps the rules at the top of the header: `engine` is valid and no other thread writes it.
        let bound = unsafe { memory::get(engine)? };
        let bytes = bound.model.bytes();
        let ranges = [
            (scratch as usize, scratch_len),
            (logits as usize, logits_len.saturating_mul(size_of::<f32>())),
            (image as usize, image_len),
            (engine as usize, size_of::<resmlp_engine>()),
            (bytes.as_ptr() as usize, bytes.len()),
        ];
        memory::apart(2, &ranges)?;
        // SAFETY: the caller keeps the rules at the top of the header: the pointers are valid for their lengths.
        // `apart` has checked that scratch memory and logits overlap each other nowhere, nor any of the memory that is
        // read.
        let (image, scratch, logits) = unsafe {
            let image = memory::slice(image, image_len)?;
            (image, memory::slice_mut(scratch, scratch_len)?, memory::slice_mut(logits, logits_len)?)
        };
        let cores = Cores::new(bound.lent);
        Engine::new(bound.model.clone(), bound.kernels, &cores)?.run(image, scratch, logits)?;
        if cores.failed() { Err(Status::Parallel) } else { Ok(()) }
    };
    Status::of(run())
}

/// Finds the `count` largest logits, largest first. Equal logits are in the order of their index.
///
/// @param best   receives `count` classes
/// @param count  at most RESMLP_TOP_MAX, and at most `length`
/// @return RESMLP_STATUS_OK, _NULL, _MISALIGNED, _OVERLAP or _RANGE
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resmlp_top(logits: *const f32, length: usize, best: *mut resmlp_class, count: usize) -> i32 {
    let find = || {
        if count > RESMLP_TOP_MAX || count > length {
            return Err(Status::Range);
        }
        let bytes = |len: usize, size: usize| len.saturating_mul(size);
        let written = (best as usize, bytes(count, size_of::<resmlp_class>()));
        memory::apart(1, &[written, (logits as usize, bytes(length, size_of::<f32>()))])?;
        // SAFETY: the caller keeps the rules at the top of the header: the pointers are valid for their lengths.
        // `apart` has checked that `best` and `logits` do not overlap.
        let (logits, best) = unsafe { (memory::slice(logits, length)?, memory::slice_mut(best, count)?) };
        for (best, &(index, logit)) in best.iter_mut().zip(&top::<RESMLP_TOP_MAX>(logits)) {
            *best = resmlp_class { index: index as u32, logit };
        }
        Ok(())
    };
    Status::of(find())
}
