//! Checks the pointers and lengths that C passes, as far as they can be checked.

use core::ffi::c_char;
use core::mem::{align_of, needs_drop, size_of};
use core::ptr::NonNull;
use core::slice;

use crate::resmlp_status as Status;

/// Returns the pointer.
///
/// # Errors
/// Returns an error if the pointer is NULL or not aligned to its type.
pub fn non_null<T>(pointer: *const T) -> Result<NonNull<T>, Status> {
    let pointer = NonNull::new(pointer.cast_mut()).ok_or(Status::Null)?;
    if pointer.is_aligned() { Ok(pointer) } else { Err(Status::Misaligned) }
}

/// Borrows the `T` at `pointer`.
///
/// # Safety
/// Unless `pointer` is NULL or misaligned, it must point to an initialised `T` that nobody writes during `'a`.
pub unsafe fn borrow<'a, T>(pointer: *const T) -> Result<&'a T, Status> {
    // SAFETY: the pointer is neither NULL nor misaligned, so the caller promises an initialised `T` that nobody writes.
    non_null(pointer).map(|pointer| unsafe { pointer.as_ref() })
}

/// Borrows the `len` elements at `pointer`.
///
/// # Safety
/// Unless `pointer` is NULL or misaligned, it must point to `len` initialised elements that nobody writes during `'a`.
pub unsafe fn slice<'a, T>(pointer: *const T, len: usize) -> Result<&'a [T], Status> {
    let pointer = sized(pointer, len)?;
    // SAFETY: the pointer is neither NULL nor misaligned, so the caller promises `len` initialised elements that nobody
    // writes. `sized` has checked that they take at most `isize::MAX` bytes and do not wrap around.
    Ok(unsafe { slice::from_raw_parts(pointer.as_ptr(), len) })
}

/// Borrows the `len` elements at `pointer` for writing.
///
/// # Safety
/// Unless `pointer` is NULL or misaligned, it must point to `len` elements that nobody else reads or writes during
/// `'a`. Memory that C has not written counts as initialised, because every bit pattern is a valid value of the types
/// used here.
pub unsafe fn slice_mut<'a, T>(pointer: *mut T, len: usize) -> Result<&'a mut [T], Status> {
    let pointer = sized(pointer, len)?;
    // SAFETY: the pointer is neither NULL nor misaligned, so the caller promises `len` elements that nobody else uses.
    // `sized` has checked that they take at most `isize::MAX` bytes and do not wrap around.
    Ok(unsafe { slice::from_raw_parts_mut(pointer.as_ptr(), len) })
}

fn sized<T>(pointer: *const T, len: usize) -> Result<NonNull<T>, Status> {
    let fits = len
        .checked_mul(size_of::<T>())
        .is_some_and(|bytes| isize::try_from(bytes).is_ok() && (pointer as usize).checked_add(bytes).is_some());
    let pointer = non_null(pointer)?;
    if fits { Ok(pointer) } else { Err(Status::Range) }
}

/// Checks that none of the first `written` ranges overlaps any other range. A range is an address and a number of
/// bytes.
///
/// # Errors
/// Returns [`Status::Overlap`] if two ranges overlap.
pub fn apart(written: usize, ranges: &[(usize, usize)]) -> Result<(), Status> {
    let overlap =
        |a: &(usize, usize), b: &(usize, usize)| a.0 < b.0.saturating_add(b.1) && b.0 < a.0.saturating_add(a.1);
    let pairs = ranges.iter().enumerate().take(written);
    let mut pairs = pairs.flat_map(|(i, a)| ranges.iter().skip(i.saturating_add(1)).map(move |b| (a, b)));
    if pairs.any(|(a, b)| overlap(a, b)) { Err(Status::Overlap) } else { Ok(()) }
}

/// A type that C allocates and that holds an object: a mark of 8 bytes, followed by room for the object.
///
/// # Safety
/// The type must be `repr(C)`, begin with a `u64`, and consist of integers only.
pub unsafe trait Place: Sized {
    /// The type of the object.
    type Object: Clone;
    /// The mark's value when the object is present.
    const MARK: u64;
    /// Evaluating this constant fails to compile if the object does not fit or has to be dropped.
    const FITS: () = assert!(
        size_of::<u64>() + size_of::<Self::Object>() <= size_of::<Self>()
            && align_of::<Self::Object>() <= align_of::<u64>()
            && !needs_drop::<Self::Object>()
    );
}

/// Clears the mark at `place`, so that a later use of the object is refused.
///
/// # Safety
/// Unless `place` is NULL or misaligned, it must point to a `P` that nobody else uses.
pub unsafe fn clear<P: Place>(place: *mut P) -> Result<(), Status> {
    let place = non_null(place)?;
    // SAFETY: the caller promises memory for a `P` that nobody else uses, and the mark is its first field.
    unsafe { place.cast::<u64>().write(0) };
    Ok(())
}

/// Stores an object at `place` and sets the mark.
///
/// # Safety
/// Unless `place` is NULL or misaligned, it must point to a `P` that nobody else uses.
pub unsafe fn put<P: Place>(place: *mut P, object: P::Object) -> Result<(), Status> {
    const { P::FITS };
    let place = non_null(place)?.cast::<u64>();
    // SAFETY: the caller promises memory for a `P` that nobody else uses. `P::FITS` checks that the object fits after
    // the mark and needs no stricter alignment.
    unsafe {
        place.add(1).cast::<P::Object>().write(object);
        place.write(P::MARK);
    }
    Ok(())
}

/// Borrows the object that [`put`] stored at `place`.
///
/// # Safety
/// Unless `place` is NULL or misaligned, it must point to a `P` that nobody writes during `'a`, and whose mark only
/// [`put`] can have set.
pub unsafe fn get<'a, P: Place>(place: *const P) -> Result<&'a P::Object, Status> {
    let place = non_null(place)?.cast::<u64>();
    // SAFETY: the caller promises a `P`, whose first field is the mark. If the mark is set, `put` has stored an object
    // right after it, and nobody writes it during `'a`.
    unsafe {
        if place.read() != P::MARK {
            return Err(Status::Uninitialised);
        }
        Ok(place.add(1).cast::<P::Object>().as_ref())
    }
}

/// Returns the memory (address, bytes) of `len` elements at `pointer`, for [`apart`].
pub fn range<T>(pointer: *const T, len: usize) -> (usize, usize) {
    (pointer as usize, len.saturating_mul(size_of::<T>()))
}

/// Refuses a `T` at `pointer` that overlaps one of `others`.
pub fn unshared<T>(pointer: *const T, others: &[(usize, usize)]) -> Result<(), Status> {
    others.iter().try_for_each(|&other| apart(1, &[range(pointer, 1), other]))
}

/// Writes `value` to `pointer`, unless the value would overlap one of `others`: the memory that the same call reads.
///
/// # Safety
/// Unless `pointer` is NULL or misaligned, it must point to memory for a `T` that nobody else uses.
pub unsafe fn write<T>(pointer: *mut T, value: T, others: &[(usize, usize)]) -> Result<(), Status> {
    let place = non_null(pointer)?;
    unshared(pointer, others)?;
    // SAFETY: the pointer is neither NULL nor misaligned, so the caller promises memory for a `T`.
    unsafe { place.write(value) };
    Ok(())
}

/// Returns how many bytes of the text at `pointer` are read at most where it is compared with names of up to `longest`
/// bytes: those up to the zero that ends it, or one more than a name has.
///
/// # Safety
/// `pointer` must point to a text that ends with a zero.
pub unsafe fn text_len(pointer: *const c_char, longest: usize) -> usize {
    // SAFETY: a byte is read only where none before it is zero.
    let before_end = (0..longest).take_while(|&at| unsafe { pointer.add(at).read() } != 0);
    before_end.count().saturating_add(1)
}

/// Returns whether the text at `pointer`, which ends with a zero, is `name`. No byte after the zero is read.
///
/// # Safety
/// `pointer` must point to a text that ends with a zero. `name` must contain no zero.
pub unsafe fn is(pointer: *const c_char, name: &str) -> bool {
    // SAFETY: byte `at` is read only if all bytes before it equal those of `name`, which are not zero. The text
    // therefore has not ended before byte `at`.
    let byte = |at: usize| unsafe { pointer.add(at).read() } as u8;
    name.bytes().enumerate().all(|(at, wanted)| byte(at) == wanted) && byte(name.len()) == 0
}
