//! The status that every function returns.

use core::ffi::{CStr, c_char};

use resmlp_runtime::{ModelError, RunError};

/// The result of a function: 0, or the number of an error.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum resmlp_status {
    /// The function succeeded.
    Ok = 0,
    /// A pointer is NULL.
    Null = 1,
    /// An object is not initialised, or its initialisation failed.
    Uninitialised = 2,
    /// A pointer is misaligned. A model's bytes need an alignment of RESMLP_ALIGNMENT, everything else that of its
    /// type.
    Misaligned = 3,
    /// Memory that the function writes overlaps other memory that was passed to it.
    Overlap = 4,
    /// The bytes are not a packed model.
    NotAModel = 5,
    /// The model has another format version than this library reads. Convert the network again.
    Version = 6,
    /// The model is damaged: it was cut off, extended or changed.
    Damaged = 7,
    /// The model is malformed: a field or a tensor has a value that the format does not allow.
    Malformed = 8,
    /// No kernels have this name, or this CPU lacks the instructions that they use.
    Kernels = 9,
    /// The kernels do not read the model's layout. Convert the network with `--target`, or choose other kernels.
    Layout = 10,
    /// The picture's number of bytes is not height × width × 3.
    Image = 11,
    /// The scratch memory is smaller than resmlp_scratch_len() bytes.
    Scratch = 12,
    /// The number of logits is not the model's number of outputs.
    Logits = 13,
    /// An index is out of range, or a count is above its limit.
    Range = 14,
    /// The function in resmlp_parallel did not call every task.
    Parallel = 15,
    /// The library has an internal error. Please report it.
    Internal = 16,
}

use resmlp_status as Status;

impl Status {
    const fn text(self) -> &'static CStr {
        match self {
            Self::Ok => c"no error",
            Self::Null => c"a pointer is NULL",
            Self::Uninitialised => c"an object is not initialised",
            Self::Misaligned => c"a pointer does not have the required alignment",
            Self::Overlap => c"memory to be written overlaps other memory that was passed",
            Self::NotAModel => c"not a packed ResMLP model",
            Self::Version => c"the model has another format version: convert the network again",
            Self::Damaged => c"the model is damaged or cut off",
            Self::Malformed => c"the model is malformed: a field or tensor has a value that the format does not allow",
            Self::Kernels => c"no kernels have this name, or this CPU cannot run them",
            Self::Layout => c"the kernels do not read the model's layout",
            Self::Image => c"the picture has the wrong number of bytes",
            Self::Scratch => c"the scratch memory is too small",
            Self::Logits => c"the number of logits is not the model's number of outputs",
            Self::Range => c"an index or a count is out of range",
            Self::Parallel => c"the parallel function did not call every task",
            Self::Internal => c"an internal error of the library",
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

    /// Converts the outcome of a function's body to the number that C gets.
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

/// Returns an English text for a status. The pointer is never NULL, and the text is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn resmlp_status_text(status: i32) -> *const c_char {
    let known = Status::ALL.into_iter().find(|known| *known as i32 == status);
    known.map_or(c"not a status of this library", Status::text).as_ptr()
}
