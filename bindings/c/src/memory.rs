//! What C passes, checked as far as it can be.

use core::ffi::c_char;
use core::mem::{align_of, needs_drop, size_of};
use core::ptr::NonNull;
use core::slice;

use crate::resmlp_status as Status;

/// The pointer, unless it is NULL or not aligned to its type.
pub fn non_null<T>(pointer: *const T) -> Result<NonNull<T>, Status> {
    let pointer = NonNull::new(pointer.cast_mut()).ok_or(Status::Null)?;
    if pointer.is_aligned() { Ok(pointer) } else { Err(Status::Misaligned) }
}

/// # Safety
/// Where it is neither NULL nor misaligned, `pointer` points to an initialised `T` that nobody writes during `'a`.
pub unsafe fn borrow<'a, T>(pointer: *const T) -> Result<&'a T, Status> {
    // SAFETY: the caller's promise.
    non_null(pointer).map(|pointer| unsafe { pointer.as_ref() })
}

/// # Safety
/// Where it is neither NULL nor misaligned, `pointer` points to `len` initialised elements that nobody writes during `'a`.
pub unsafe fn slice<'a, T>(pointer: *const T, len: usize) -> Result<&'a [T], Status> {
    let pointer = sized(pointer, len)?;
    // SAFETY: the caller's promise, and the length was checked.
    Ok(unsafe { slice::from_raw_parts(pointer.as_ptr(), len) })
}

/// # Safety
/// As [`slice`], and nobody else reads the elements either. What C has not written to counts as initialised: it holds something.
pub unsafe fn slice_mut<'a, T>(pointer: *mut T, len: usize) -> Result<&'a mut [T], Status> {
    let pointer = sized(pointer, len)?;
    // SAFETY: the caller's promise, and the length was checked.
    Ok(unsafe { slice::from_raw_parts_mut(pointer.as_ptr(), len) })
}

fn sized<T>(pointer: *const T, len: usize) -> Result<NonNull<T>, Status> {
    let fits = len
        .checked_mul(size_of::<T>())
        .is_some_and(|bytes| isize::try_from(bytes).is_ok() && (pointer as usize).checked_add(bytes).is_some());
    let pointer = non_null(pointer)?;
    if fits { Ok(pointer) } else { Err(Status::Range) }
}

/// Refuses ranges (address, bytes) of which one of the first `written` overlaps another.
pub fn apart(written: usize, ranges: &[(usize, usize)]) -> Result<(), Status> {
    let overlap =
        |a: &(usize, usize), b: &(usize, usize)| a.0 < b.0.saturating_add(b.1) && b.0 < a.0.saturating_add(a.1);
    let pairs = ranges.iter().enumerate().take(written);
    let mut pairs = pairs.flat_map(|(i, a)| ranges.iter().skip(i.saturating_add(1)).map(move |b| (a, b)));
    if pairs.any(|(a, b)| overlap(a, b)) { Err(Status::Overlap) } else { Ok(()) }
}

/// Memory of C's that holds an object: a mark of 8 bytes, and room behind it.
///
/// # Safety
/// The type is `repr(C)`, begins with a `u64`, and consists of plain numbers.
pub unsafe trait Place: Sized {
    /// What is kept there.
    type Object: Clone;
    /// Says that it is there.
    const MARK: u64;
    /// It fits, and owns nothing that would have to be dropped.
    const FITS: () = assert!(
        size_of::<u64>() + size_of::<Self::Object>() <= size_of::<Self>()
            && align_of::<Self::Object>() <= align_of::<u64>()
            && !needs_drop::<Self::Object>()
    );
}

/// Takes away what is at `place`, so that a later use is noticed.
///
/// # Safety
/// Where it is neither NULL nor misaligned, `place` points to a `P` that nobody else uses.
pub unsafe fn clear<P: Place>(place: *mut P) -> Result<(), Status> {
    let place = non_null(place)?;
    // SAFETY: the caller's promise; the mark stands first.
    unsafe { place.cast::<u64>().write(0) };
    Ok(())
}

/// Puts an object at `place`.
///
/// # Safety
/// As [`clear`].
pub unsafe fn put<P: Place>(place: *mut P, object: P::Object) -> Result<(), Status> {
    const { P::FITS };
    let place = non_null(place)?.cast::<u64>();
    // SAFETY: the caller's promise; the object fits behind the mark.
    unsafe {
        place.add(1).cast::<P::Object>().write(object);
        place.write(P::MARK);
    }
    Ok(())
}

/// The object that was put at `place`.
///
/// # Safety
/// Where it is neither NULL nor misaligned, `place` points to a `P` that nobody writes during `'a`, and whose mark only
/// [`put`] has made.
pub unsafe fn get<'a, P: Place>(place: *const P) -> Result<&'a P::Object, Status> {
    let place = non_null(place)?.cast::<u64>();
    // SAFETY: the caller's promise; where the mark is, the object is behind it.
    unsafe {
        if place.read() != P::MARK {
            return Err(Status::Uninitialised);
        }
        Ok(place.add(1).cast::<P::Object>().as_ref())
    }
}

/// Writes `value` to `pointer`.
///
/// # Safety
/// Where it is neither NULL nor misaligned, `pointer` points to memory for a `T`.
pub unsafe fn write<T>(pointer: *mut T, value: T) -> Result<(), Status> {
    // SAFETY: the caller's promise.
    non_null(pointer).map(|pointer| unsafe { pointer.write(value) })
}

/// Whether the text at `pointer`, ended by a zero, is `name`. No byte behind its end is read.
///
/// # Safety
/// `pointer` points to such a text.
pub unsafe fn is(pointer: *const c_char, name: &str) -> bool {
    // SAFETY: a byte is read only where all before it are `name`'s, none of which is zero.
    let byte = |at: usize| unsafe { pointer.add(at).read() } as u8;
    name.bytes().enumerate().all(|(at, wanted)| byte(at) == wanted) && byte(name.len()) == 0
}
