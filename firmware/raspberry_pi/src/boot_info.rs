//! Reads what the boot firmware has left in memory for the kernel.

use core::ops::Range;

use crate::atags::{self, Atags};
use crate::device_tree::{self, DeviceTree};

/// The facts that the kernel needs, from a device tree or from ATAGs.
#[derive(Clone, Debug, PartialEq)]
pub struct BootInfo<'a> {
    /// Source of the facts: `device tree`, `ATAGs` or `nothing`.
    pub source: &'static str,
    /// End of the memory that begins at address 0.
    pub memory_end: usize,
    /// Addresses of the initramfs.
    pub initramfs: Option<Range<usize>>,
    /// The kernel's command line.
    pub command_line: &'a str,
    /// For each core, the address at which it looks for its start address.
    pub release: [Option<usize>; 4],
    /// Pin of the activity LED.
    pub led: Option<LedPin>,
}

/// The pin to which an LED is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedPin {
    /// Number of the pin.
    pub pin: u32,
    /// Whether the pin belongs to the GPIO expander, which only the boot firmware reaches, and not to the processor.
    pub on_expander: bool,
    /// Whether the LED is lit when the pin is low.
    pub active_low: bool,
}

/// Size of memory that every board has, in bytes. It is assumed if the boot firmware states no size.
const LEAST_MEMORY: usize = 256 << 20;

impl<'a> BootInfo<'a> {
    /// Returns the length in bytes of the device tree that begins with `start`, or `None` if no tree begins so.
    pub fn device_tree_length(start: &[u8]) -> Option<usize> {
        device_tree::length(start)
    }

    /// Reads a device tree. Returns `None` if `bytes` hold none.
    pub fn from_device_tree(bytes: &'a [u8]) -> Option<Self> {
        let tree = DeviceTree::parse(bytes)?;
        let address = |path: &[&str], name: &str| usize::try_from(tree.number(path, name)?).ok();
        let [start, end] = ["linux,initrd-start", "linux,initrd-end"].map(|name| address(&["chosen"], name));
        Some(Self {
            source: "device tree",
            memory_end: memory_end(&tree).unwrap_or(LEAST_MEMORY),
            initramfs: start.zip(end).map(|(start, end)| start..end),
            command_line: tree.text(&["chosen"], "bootargs").unwrap_or_default(),
            release: ["cpu@0", "cpu@1", "cpu@2", "cpu@3"].map(|cpu| address(&["cpus", cpu], "cpu-release-addr")),
            led: led(&tree),
        })
    }

    /// Reads ATAGs. Returns `None` if `words` do not begin with such a list.
    pub fn from_atags(words: &'a [u32]) -> Option<Self> {
        let Atags { memory_end, initramfs, command_line } = atags::parse(words)?;
        Some(Self {
            source: "ATAGs",
            memory_end: memory_end.unwrap_or(LEAST_MEMORY),
            initramfs,
            command_line: core::str::from_utf8(command_line).unwrap_or_default(),
            ..Self::nothing()
        })
    }

    /// Returns the facts that are assumed if the boot firmware has left no information.
    pub fn nothing() -> Self {
        Self {
            source: "nothing",
            memory_end: LEAST_MEMORY,
            initramfs: None,
            command_line: "",
            release: [None; 4],
            led: None,
        }
    }
}

/// Returns the end of the memory's first part, which begins at 0 on all boards.
fn memory_end(tree: &DeviceTree) -> Option<usize> {
    let [address, size] = ["#address-cells", "#size-cells"].map(|name| tree.number(&[], name));
    let [address, size] = [usize::try_from(address?).ok()?, usize::try_from(size?).ok()?];
    let part = tree.property(&["memory"], "reg")?;
    if !(1..=2).contains(&address) || !(1..=2).contains(&size) || device_tree::cells(part, 0, address)? != 0 {
        return None;
    }
    usize::try_from(device_tree::cells(part, address, size)?).ok().filter(|&end| end > 0)
}

/// Returns the pin of the activity LED. Its property holds the phandle of the pin's controller, the number of the pin,
/// and flags, of which bit 0 is set if a low level lights the LED. The result is `None` for an unknown controller,
/// because a pin of the same number of another controller may be connected to anything.
fn led(tree: &DeviceTree) -> Option<LedPin> {
    let gpios = |name: &&str| tree.property(&["leds", name], "gpios");
    let name = ["led-act", "act"].into_iter().find(|name| gpios(name).is_some())?;
    // A Raspberry Pi 400 has no activity LED. Its tree has a disabled one, on a pin of the header.
    if tree.text(&["leds", name], "status").is_some_and(|status| !["okay", "ok"].contains(&status)) {
        return None;
    }
    let gpios = gpios(&name)?;
    let [controller, pin, flags] = [0, 1, 2].map(|cell| device_tree::cells(gpios, cell, 1));
    let is_controller = |path: &[&str]| controller.is_some() && controller == tree.number(path, "phandle");
    // The expander has one name in Linux, and another in Raspberry Pi's Linux.
    let expanders = ["gpio", "expgpio"].map(|name| ["soc", "firmware", name]);
    let (pin, on_expander) = if is_controller(&["soc", "gpio"]) {
        (pin?, false)
    } else if expanders.iter().any(|path| is_controller(path)) {
        (pin?, true)
    } else if is_controller(&["soc", "virtgpio"]) {
        // On a Raspberry Pi 3 B, older trees reach the expander's pin through memory of the boot firmware.
        let names = expanders.iter().find_map(|path| tree.property(path, "gpio-line-names"))?;
        (names.split(|&byte| byte == 0).position(|name| name == b"STATUS_LED")? as u64, true)
    } else {
        return None;
    };
    Some(LedPin { pin: u32::try_from(pin).ok()?, on_expander, active_low: flags? & 1 != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device_tree::tests::Builder;

    fn tree(address_cells: u32, led_controller: u32) -> std::vec::Vec<u8> {
        let memory: &[u32] = if address_cells == 1 { &[0, 0x3b40_0000] } else { &[0, 0, 0x3b40_0000, 9, 9, 9] };
        let chosen: &[[u32; 2]] = &[[0, 0x0800_0000], [0, 0x0800_1000]];
        let chosen = chosen.iter().map(|cells| if address_cells == 1 { &cells[1..] } else { &cells[..] });
        let mut chosen = chosen;
        Builder::default()
            .begin("")
            .cells("#address-cells", &[address_cells])
            .cells("#size-cells", &[1])
            .begin("memory@0")
            .cells("reg", memory)
            .end()
            .begin("chosen")
            .property("bootargs", b"runs=5\0")
            .cells("linux,initrd-start", chosen.next().unwrap())
            .cells("linux,initrd-end", chosen.next().unwrap())
            .end()
            .begin("cpus")
            .begin("cpu@1")
            .cells("cpu-release-addr", &[0, 0xe0])
            .end()
            .end()
            .begin("soc")
            .begin("gpio@7e200000")
            .cells("phandle", &[8])
            .end()
            .begin("firmware")
            .begin("gpio")
            .cells("phandle", &[7])
            .end()
            .end()
            .end()
            .begin("leds")
            .begin("led-act")
            .cells("gpios", &[led_controller, 29, 1])
            .end()
            .end()
            .end()
            .build()
    }

    #[test]
    fn device_trees_of_pi_3_and_4_are_read() {
        for (address_cells, controller) in [(1, 7), (2, 8)] {
            let bytes = tree(address_cells, controller);
            let expected = BootInfo {
                source: "device tree",
                memory_end: 0x3b40_0000,
                initramfs: Some(0x0800_0000..0x0800_1000),
                command_line: "runs=5",
                release: [None, Some(0xe0), None, None],
                led: Some(LedPin { pin: 29, on_expander: controller == 7, active_low: true }),
            };
            assert_eq!(BootInfo::from_device_tree(&bytes), Some(expected));
        }
    }

    /// Returns a tree of Raspberry Pi's own Linux. The arguments are what differs between boards: the controllers'
    /// phandles, and the LED.
    fn own_tree(gpios: [u32; 3], status: &[u8]) -> std::vec::Vec<u8> {
        Builder::default()
            .begin("")
            .begin("soc")
            .begin("gpio@7e200000")
            .cells("phandle", &[1])
            .end()
            .begin("virtgpio")
            .cells("phandle", &[2])
            .end()
            .begin("firmware")
            .begin("expgpio")
            .cells("phandle", &[3])
            .property("gpio-line-names", b"BT_ON\0WL_ON\0STATUS_LED\0LAN_RUN\0")
            .end()
            .end()
            .end()
            .begin("leds")
            .begin("led-act")
            .cells("gpios", &gpios)
            .property("status", status)
            .end()
            .end()
            .end()
            .build()
    }

    #[test]
    fn no_other_pin_is_mistaken_for_that_of_the_led() {
        let led = |gpios, status| BootInfo::from_device_tree(&own_tree(gpios, status)).unwrap().led;
        let pin = |pin, on_expander| Some(LedPin { pin, on_expander, active_low: false });
        assert_eq!(led([1, 42, 0], b"okay\0"), pin(42, false));
        assert_eq!(led([3, 2, 0], b"okay\0"), pin(2, true));
        // The LED of a Raspberry Pi 3 B is not on pin 0, and a Raspberry Pi 400 has none.
        assert_eq!(led([2, 0, 0], b"okay\0"), pin(2, true));
        assert_eq!(led([1, 0, 0], b"disabled\0"), None);
        assert_eq!(led([9, 0, 0], b"okay\0"), None);
    }
}
