//! Makes the linker fail if a panic is reachable.

use core::panic::PanicInfo;

unsafe extern "C" {
    #[link_name = "error: this program contains a panic"]
    safe fn no_panic() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    no_panic()
}
