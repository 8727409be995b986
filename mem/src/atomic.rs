//! The atomics that shared memory is made of: every store to it goes through these types.
//!
//! Without the feature `kill-points` they *are* the standard library's, and cost nothing more. With
//! it each change of shared memory, and each copy of bytes into it, is between two *kill points*: at
//! the one that a test armed ([`crate::kill_points::arm`]) the process ends by SIGKILL. So a test can
//! kill a process between any two stores, one after the other, instead of hoping to hit them.

pub use std::sync::atomic::Ordering;

pub(crate) use std::sync::atomic::fence;

#[cfg(not(feature = "kill-points"))]
pub use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64};

#[cfg(feature = "kill-points")]
pub use killing::{AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64};

/// Copies `from` to `to`; two halves where kill points are counted, so that a copy can be cut.
///
/// # Safety
/// As for [`std::ptr::copy_nonoverlapping`]: `to` has room for all of `from`, apart from it.
#[inline]
pub(crate) unsafe fn copy_bytes(from: &[u8], to: *mut u8) {
    let half = if cfg!(feature = "kill-points") {
        from.len() / 2
    } else {
        from.len()
    };
    before_change();
    // SAFETY: the caller's promise, for each part of `from`.
    unsafe {
        std::ptr::copy_nonoverlapping(from.as_ptr(), to, half);
        if half < from.len() {
            before_change();
            let rest = &from[half..];
            std::ptr::copy_nonoverlapping(rest.as_ptr(), to.add(half), rest.len());
        }
    }
    before_change();
}

/// A kill point of its own, in front of changes that are not made by these types.
#[inline]
pub(crate) fn before_change() {
    #[cfg(feature = "kill-points")]
    crate::kill_points::pass();
}

#[cfg(feature = "kill-points")]
mod killing {
    //! The same types and methods, with a kill point on either side of each change.
    use super::Ordering;
    use crate::kill_points::pass;

    macro_rules! atomics {
        ($($name:ident of $int:ty),*) => {$(
            /// As the standard library's type of this name, between kill points.
            #[derive(Debug, Default)]
            #[repr(transparent)]
            pub struct $name(std::sync::atomic::$name);

            #[allow(missing_docs)]
            impl $name {
                pub const fn new(value: $int) -> Self {
                    Self(std::sync::atomic::$name::new(value))
                }

                pub fn as_ptr(&self) -> *mut $int {
                    self.0.as_ptr()
                }

                pub fn load(&self, order: Ordering) -> $int {
                    self.0.load(order)
                }

                pub fn store(&self, value: $int, order: Ordering) {
                    pass();
                    self.0.store(value, order);
                    pass();
                }

                pub fn compare_exchange(
                    &self,
                    old: $int,
                    new: $int,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$int, $int> {
                    pass();
                    let done = self.0.compare_exchange(old, new, success, failure);
                    if done.is_ok() {
                        pass();
                    }
                    done
                }

                pub fn compare_exchange_weak(
                    &self,
                    old: $int,
                    new: $int,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$int, $int> {
                    self.compare_exchange(old, new, success, failure)
                }

                pub fn fetch_update(
                    &self,
                    set: Ordering,
                    fetch: Ordering,
                    change: impl FnMut($int) -> Option<$int>,
                ) -> Result<$int, $int> {
                    pass();
                    let done = self.0.fetch_update(set, fetch, change);
                    pass();
                    done
                }

                atomics!(@change $int: swap fetch_add fetch_sub fetch_and fetch_or fetch_xor fetch_min fetch_max);
            }
        )*};
        (@change $int:ty: $($method:ident)*) => {$(
            pub fn $method(&self, value: $int, order: Ordering) -> $int {
                pass();
                let before = self.0.$method(value, order);
                pass();
                before
            }
        )*};
    }

    atomics!(AtomicU8 of u8, AtomicU16 of u16, AtomicU32 of u32, AtomicU64 of u64, AtomicI64 of i64);
}
