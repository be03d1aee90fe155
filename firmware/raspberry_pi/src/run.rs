//! Runs the program: finds the model, classifies the pictures that follow it, measures, and answers frames.

use core::convert::Infallible;
use core::fmt::{self, Write};
use core::ops::Range;

use embedded_hal::digital::{ErrorType, OutputPin};
use resmlp_protocol::SILENCE_MS;
use resmlp_raspberry_pi::{
    Arena, BootInfo, Classifier, Clock, Failure, Options, Payload, PayloadError, Server, Span, core_clock,
    describe_model, flash, largest_gap, measure, print_classes, print_core_clock, print_latency, print_layers,
};
use resmlp_runtime::format::ALIGNMENT;
use resmlp_runtime::{Engine, Kernels, ModelError, RunError};

use crate::board::Board;
use crate::boards;
use crate::console::Console;
use crate::cores::Cores;
use crate::gpio::Led;
use crate::time::Timer;
use crate::watchdog::Watchdog;
use crate::{exception, semihosting};

unsafe extern "C" {
    static __image_end: u8;
}

/// End of the memory in which the boot firmware may leave a device tree or ATAGs.
const LEAST_GIBIBYTE: usize = 0x3f00_0000;

/// Longest device tree that is read, in bytes.
const LONGEST_TREE: usize = 2 << 20;

/// Number of words that are searched for ATAGs.
const MOST_ATAGS: usize = 1024;

/// After this many sequences of flashes, the message is printed again.
const REPEAT: u32 = 8;

/// The outputs of the program.
struct Outputs {
    console: Console,
    led: Led,
    timer: Timer,
    emulator: bool,
}

/// The information that the boot firmware has left in memory.
struct LeftBehind {
    info: BootInfo<'static>,
    /// Addresses of the device tree; empty if there is none.
    tree: Range<usize>,
}

/// The entry of core 0. boot.s calls it with the value that the boot firmware has left in x0.
#[unsafe(no_mangle)]
extern "C" fn primary_main(x0: usize) {
    let Some(board) = boards::current() else { return };
    // SAFETY: boot.s calls this function once, so this is the only console.
    let Some(mut console) = (unsafe { Console::new(board) }) else { return };
    let left = left_behind(x0);
    let options = Options::parse(left.info.command_line);
    #[cfg(feature = "with-a-panic")]
    assert!(options.runs != 77);
    let led = left.info.led.or(board.led);
    exception::prepare(options.emulator, led);
    // QEMU's watchdog would reset the machine at once.
    let watchdog = Watchdog::of(board).filter(|_| !options.emulator);
    if let Some(watchdog) = &watchdog {
        watchdog.start();
    }
    // Writing to the console cannot fail.
    let _ = writeln!(console, "\nResMLP on bare metal: {}, started with {}", board.name, left.info.source);
    let timer = Timer::new(board, watchdog);
    let mut out = Outputs { console, led: Led::new(board, led), timer, emulator: options.emulator };
    let Ok(()) = out.led.set_high();
    if options.test_fault {
        // SAFETY: this read breaks the rule that its address must be mapped, because the option is there to show what
        // an exception prints. The page tables do not map 0x7_0000_0000, so the processor takes a data abort before
        // anything is read, and the exception handler does not return here.
        unsafe { core::ptr::with_exposed_provenance::<u32>(0x7_0000_0000).read_volatile() };
    }
    let Err((failure, message)) = run(board, &left, &options, &mut out);
    out.tell(failure, &message)
}

/// Reads the device tree or the ATAGs at `x0`.
fn left_behind(x0: usize) -> LeftBehind {
    let nothing = LeftBehind { info: BootInfo::nothing(), tree: 0..0 };
    let readable = |start: usize| start != 0 && start.is_multiple_of(8) && start < LEAST_GIBIBYTE;
    if !readable(x0) {
        return nothing;
    }
    // SAFETY: `x0` lies in the first gibibyte, which is mapped as readable memory with 2 MiB of mapped addresses or
    // more after it, and neither the firmware nor another core writes there now. Any bytes are valid.
    let bytes = |length| unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance::<u8>(x0), length) };
    if let Some(length) = BootInfo::device_tree_length(bytes(8)).filter(|&length| length <= LONGEST_TREE) {
        return match BootInfo::from_device_tree(bytes(length)) {
            Some(info) => LeftBehind { info, tree: x0..x0 + length },
            None => nothing,
        };
    }
    let words = bytemuck::try_cast_slice(bytes(4 * MOST_ATAGS)).unwrap_or_default();
    BootInfo::from_atags(words).map_or(nothing, |info| LeftBehind { info, tree: 0..0 })
}

impl Outputs {
    /// Reports a failure by flashes and by text, for ever. An emulator ends after the first report.
    fn tell(&mut self, failure: Failure, message: &Message) -> ! {
        loop {
            let _ = writeln!(self.console, "error: {message}");
            let _ = writeln!(self.console, "the LED flashes {} times, again and again", failure.flashes());
            for _ in 0..if self.emulator { 1 } else { REPEAT } {
                let mut led = Shown { led: &mut self.led, console: self.emulator.then_some(&mut self.console) };
                let Ok(()) = flash(&mut led, &mut &self.timer, failure.flashes());
            }
            if self.emulator {
                self.end(failure.exit_code());
            }
        }
    }

    /// Answers frames for ever. An emulator ends after `frames` of them.
    fn serve(&mut self, mut server: Server, classifier: &mut Classifier<Cores>, frames: usize) -> Outcome<Infallible> {
        let mut served = 0;
        loop {
            if self.emulator && served >= frames {
                self.end(0);
            }
            let byte = self.console.read();
            if let Some(reply) = server.poll(byte, classifier, &self.timer) {
                self.console.write(reply);
                served += 1;
            }
            self.timer.alive();
            if !server.is_receiving() {
                self.beat();
            }
        }
    }

    /// Lights the LED briefly every two seconds.
    fn beat(&mut self) {
        let second = self.timer.frequency();
        let phase = self.timer.ticks().checked_rem(2 * second).unwrap_or(0);
        let Ok(()) = if phase < second / 20 { self.led.set_high() } else { self.led.set_low() };
    }

    /// Ends the emulator.
    fn end(&mut self, code: u32) -> ! {
        let _ = writeln!(self.console, "\nthe emulator ends with {code}");
        self.console.flush();
        semihosting::exit(code)
    }
}

/// The LED. In an emulator its level is read back and printed.
struct Shown<'a> {
    led: &'a mut Led,
    console: Option<&'a mut Console>,
}

impl Shown<'_> {
    fn show(&mut self) {
        if let Some(console) = &mut self.console {
            let state = match self.led.is_lit() {
                Some(true) => "on",
                Some(false) => "off",
                None => "unknown",
            };
            // Writing to the console cannot fail.
            let _ = writeln!(console, "LED {state}");
        }
    }
}

impl ErrorType for Shown<'_> {
    type Error = Infallible;
}

impl OutputPin for Shown<'_> {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.led.set_low()?;
        self.show();
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.led.set_high()?;
        self.show();
        Ok(())
    }
}

/// The reason why the program cannot go on.
enum Message {
    Payload(PayloadError),
    Text(&'static str),
    Engine(ModelError),
    Run(RunError),
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Payload(error) => error.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Engine(error) => error.fmt(f),
            Self::Run(error) => error.fmt(f),
        }
    }
}

type Outcome<T> = Result<T, (Failure, Message)>;

fn told(_: fmt::Error) -> (Failure, Message) {
    (Failure::NotRun, Message::Text("the serial line takes no text"))
}

fn no_model(error: PayloadError) -> (Failure, Message) {
    (Failure::from(error), Message::Payload(error))
}

fn did_not_run(error: RunError) -> (Failure, Message) {
    (Failure::NotRun, Message::Run(error))
}

fn run(board: &'static Board, left: &LeftBehind, options: &Options, out: &mut Outputs) -> Outcome<Infallible> {
    let no_memory = || (Failure::NotRun, Message::Text("too little memory for this model"));
    let (bytes, mut arena) = memory(board, left)?;
    let bytes =
        if bytes.as_ptr().align_offset(ALIGNMENT) == 0 { bytes } else { arena.copy(bytes).ok_or_else(no_memory)? };
    let payload = Payload::parse(bytes).map_err(no_model)?;
    describe_model(&mut out.console, &payload.model).map_err(told)?;

    let kernels = Kernels::best(payload.model.dims());
    let depth = payload.model.dims().depth;
    let cores = Cores::start(board, &left.info, options.cores, &mut out.console).map_err(told)?;
    let count = cores.count();
    let engine = Engine::new(payload.model.clone(), kernels, cores)
        .map_err(|error| (Failure::NotRun, Message::Engine(error)))?;
    let scratch = engine.scratch_len();
    let mut classifier = Classifier::new(engine, &mut arena).ok_or_else(no_memory)?;
    writeln!(out.console, "engine      {} kernels, {scratch} bytes of scratch memory, cores: {count}", kernels.name())
        .map_err(told)?;

    if let Some(faster) =
        Kernels::supported().next().filter(|faster| kernels.layout().is_none() && faster.layout().is_some())
    {
        writeln!(
            out.console,
            "note: slow; the {} kernels want a model converted with --target {}",
            faster.name(),
            board.target
        )
        .map_err(told)?;
    }
    let (picture, cold) = classify(&payload, &mut classifier, &mut arena, out)?;
    let before = core_clock(&out.timer);
    let measured =
        measure(&mut classifier, picture, cold, &out.timer, options.runs, &mut arena).map_err(did_not_run)?;
    let after = core_clock(&out.timer);
    print_latency(&mut out.console, &measured, &out.timer, count).map_err(told)?;
    print_core_clock(&mut out.console, [before, after]).map_err(told)?;
    print_layers(&mut out.console, &measured, &out.timer, depth).map_err(told)?;

    // An emulator may be slow to hand over the bytes of a frame.
    let silence = if out.emulator { 60_000 } else { SILENCE_MS };
    let server = Server::new(board.name, silence, &classifier, &mut arena).ok_or_else(no_memory)?;
    writeln!(out.console, "ready for frames").map_err(told)?;
    out.serve(server, &mut classifier, options.frames)
}

/// Returns the initramfs, and an arena over the largest part of the memory that nothing uses.
fn memory(board: &Board, left: &LeftBehind) -> Outcome<(&'static [u8], Arena<'static>)> {
    let image_end = (&raw const __image_end).addr();
    let memory = image_end..left.info.memory_end.min(board.devices);
    let Some(initramfs) = left.info.initramfs.clone() else { return Err(no_model(PayloadError::Missing)) };
    let Range { start, end } = initramfs;
    if start < memory.start || end < start || end > memory.end {
        return Err(no_model(PayloadError::Outside { start, end }));
    }
    // SAFETY: the checks above place the initramfs in memory after the image. The boot firmware has filled it, and
    // nothing writes to it: the arena below leaves it out.
    let bytes = unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance(start), end - start) };
    let free = largest_gap(memory, &[initramfs, left.tree.clone()]);
    let start = core::ptr::with_exposed_provenance_mut(free.start);
    // SAFETY: this memory lies after the image and overlaps neither the initramfs nor the device tree, so nothing else
    // refers to it.
    let free = unsafe { core::slice::from_raw_parts_mut(start, free.len()) };
    Ok((bytes, Arena::new(free)))
}

/// Classifies the pictures that follow the model, or a picture of stripes if there is none. Returns the first
/// picture and the time of its run.
fn classify(
    payload: &Payload<'static>,
    classifier: &mut Classifier<'static, Cores>,
    arena: &mut Arena<'static>,
    out: &mut Outputs,
) -> Outcome<(&'static [u8], Span)> {
    let stripes: &[u8] = match payload.pictures().len() {
        0 => {
            let bytes: &mut [u8] = arena.zeros(classifier.picture_length()).unwrap_or_default();
            bytes.iter_mut().zip((0u8..=255).cycle()).for_each(|(byte, value)| *byte = value);
            bytes
        }
        _ => &[],
    };
    let stripes = core::iter::once(stripes).filter(|bytes| !bytes.is_empty());
    let mut first = None;
    for (index, picture) in payload.pictures().chain(stripes).enumerate() {
        let time = classifier.run(picture, &out.timer, &mut |_| {}).map_err(did_not_run)?;
        first = first.or(Some((picture, time)));
        writeln!(out.console, "picture {}", index + 1).map_err(told)?;
        print_classes(&mut out.console, &classifier.top(), classifier.logits()).map_err(told)?;
    }
    if payload.leftover > 0 {
        writeln!(out.console, "note: {} bytes behind the last whole picture are ignored", payload.leftover)
            .map_err(told)?;
    }
    first.ok_or((Failure::NotRun, Message::Text("too little memory for a picture")))
}
