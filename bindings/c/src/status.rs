//! What functions return.

use core::ffi::{CStr, c_char};

use resmlp_runtime::{ModelError, RunError};

/// What functions return: 0, or what was wrong.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum resmlp_status {
    /// All went well.
    Ok = 0,
    /// A pointer is NULL.
    Null = 1,
    /// An object was not initialised, or its initialisation failed.
    Uninitialised = 2,
    /// A pointer is not aligned: a model's bytes to RESMLP_ALIGNMENT, others to their type.
    Misaligned = 3,
    /// Memory that is written overlaps other memory that is passed.
    Overlap = 4,
    /// The bytes are not a packed model.
    NotAModel = 5,
    /// The model was written for another version of this library.
    Version = 6,
    /// The model is damaged: cut off, changed, or longer than it says.
    Damaged = 7,
    /// The model is malformed: a field or a tensor has a value that it may not have.
    Malformed = 8,
    /// No kernels of this name, or this CPU does not have their instructions.
    Kernels = 9,
    /// The kernels do not read the model's layout: convert it with `--target`, or choose others.
    Layout = 10,
    /// The picture has another number of bytes than height × width × 3.
    Image = 11,
    /// Too little scratch memory.
    Scratch = 12,
    /// Room for another number of logits than the model has outputs.
    Logits = 13,
    /// An index is out of range, or a count is above its limit.
    Range = 14,
    /// resmlp_parallel did not call every task.
    Parallel = 15,
    /// A mistake in this library.
    Internal = 16,
}

use resmlp_status as Status;

impl Status {
    const fn text(self) -> &'static CStr {
        match self {
            Self::Ok => c"no error",
            Self::Null => c"a pointer is NULL",
            Self::Uninitialised => c"an object was not initialised",
            Self::Misaligned => c"a pointer is not aligned as it must be",
            Self::Overlap => c"memory that is written overlaps other memory",
            Self::NotAModel => c"not a packed ResMLP model",
            Self::Version => c"the model was written for another version",
            Self::Damaged => c"the model is damaged or cut off",
            Self::Malformed => c"the model is malformed",
            Self::Kernels => c"no such kernels on this CPU",
            Self::Layout => c"the kernels do not read the model's layout",
            Self::Image => c"the picture has the wrong number of bytes",
            Self::Scratch => c"too little scratch memory",
            Self::Logits => c"room for the wrong number of logits",
            Self::Range => c"an index or a count is out of range",
            Self::Parallel => c"the parallel function did not call every task",
            Self::Internal => c"a mistake in the library",
        }
    }

    const ALL: [Self; 17] = [
        Self::Ok,
        Self::Null,
        Self::Uninitialised,
        Self::Misaligned,
        Self::Overlap,
        Self::NotAModel,
        Self::Version,
        Self::Damaged,
        Self::Malformed,
        Self::Kernels,
        Self::Layout,
        Self::Image,
        Self::Scratch,
        Self::Logits,
        Self::Range,
        Self::Parallel,
        Self::Internal,
    ];

    /// What the result of a function's body is to C.
    pub(crate) fn of(outcome: Result<(), Self>) -> i32 {
        outcome.map_or_else(|status| status as i32, |()| Self::Ok as i32)
    }
}

impl From<ModelError> for Status {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::TooShort { .. } | ModelError::NotAModel => Self::NotAModel,
            ModelError::Version { .. } => Self::Version,
            ModelError::Length { .. } | ModelError::Checksum { .. } => Self::Damaged,
            ModelError::Misaligned => Self::Misaligned,
            ModelError::Layout { .. } => Self::Layout,
            _ => Self::Malformed,
        }
    }
}

impl From<RunError> for Status {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Image { .. } => Self::Image,
            RunError::Scratch { .. } => Self::Scratch,
            RunError::Logits { .. } => Self::Logits,
            _ => Self::Internal,
        }
    }
}

/// A sentence in English for what a function returned. Never NULL; lasts for ever.
#[unsafe(no_mangle)]
pub extern "C" fn resmlp_status_text(status: i32) -> *const c_char {
    let known = Status::ALL.into_iter().find(|known| *known as i32 == status);
    known.map_or(c"no status of this library", Status::text).as_ptr()
}
