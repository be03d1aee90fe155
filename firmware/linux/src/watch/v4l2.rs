//! Takes a camera's frames through Video4Linux, with the few calls that streaming needs.
//!
//! The structs have the layouts of `linux/videodev2.h` on 64-bit machines, which belong to the kernel's stable
//! interface.

use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use resmlp_picture::Picture;

use super::camera::{Camera, Failure};
use super::frame::{Kind, Shape, decode};
use crate::contain;

/// Number of buffers: the driver fills the others while one frame is decoded.
const BUFFERS: u32 = 4;

/// Smallest height and width that are asked for. A driver chooses the nearest size that the camera has.
const ASKED: [u32; 2] = [480, 640];

/// A camera that delivers no frame for this many seconds counts as disconnected.
const PATIENCE: u16 = 5;

/// `V4L2_BUF_TYPE_VIDEO_CAPTURE`
const CAPTURE: u32 = 1;
/// `V4L2_MEMORY_MMAP`
const MMAP: u32 = 1;
/// `V4L2_CAP_VIDEO_CAPTURE`
const CAN_CAPTURE: u32 = 1;
/// `V4L2_CAP_STREAMING`
const CAN_STREAM: u32 = 0x0400_0000;
/// `V4L2_CAP_DEVICE_CAPS`
const HAS_DEVICE_CAPABILITIES: u32 = 0x8000_0000;
/// `V4L2_BUF_FLAG_ERROR`
const DAMAGED: u32 = 0x40;

const YUYV: u32 = u32::from_le_bytes(*b"YUYV");
const MJPEG: u32 = u32::from_le_bytes(*b"MJPG");

#[repr(C)]
#[derive(Clone, Copy)]
struct Capability {
    names: [u8; 80],
    version: u32,
    capabilities: u32,
    device_capabilities: u32,
    reserved: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Format {
    kind: u32,
    padding: u32,
    width: u32,
    height: u32,
    pixel_format: u32,
    field: u32,
    bytes_per_line: u32,
    rest: [u32; 45],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RequestBuffers {
    count: u32,
    kind: u32,
    memory: u32,
    rest: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Buffer {
    index: u32,
    kind: u32,
    bytes_used: u32,
    flags: u32,
    field: u32,
    padding: u32,
    timestamp: [i64; 2],
    timecode: [u32; 4],
    sequence: u32,
    memory: u32,
    /// Offset at which the buffer is mapped. The kernel's header has a union here, whose lower half holds the offset.
    offset: u64,
    length: u32,
    rest: [u32; 3],
}

const _: () = assert!(size_of::<Capability>() == 104 && size_of::<Format>() == 208);
const _: () = assert!(size_of::<RequestBuffers>() == 20 && size_of::<Buffer>() == 88);

/// The calls of the driver. Each is unsafe, as the kernel trusts the pointer; its number encodes the size of the type
/// behind it.
mod calls {
    use super::{Buffer, Capability, Format, RequestBuffers};

    nix::ioctl_read!(query_capability, b'V', 0, Capability);
    nix::ioctl_readwrite!(set_format, b'V', 5, Format);
    nix::ioctl_readwrite!(request_buffers, b'V', 8, RequestBuffers);
    nix::ioctl_readwrite!(query_buffer, b'V', 9, Buffer);
    nix::ioctl_readwrite!(queue, b'V', 15, Buffer);
    nix::ioctl_readwrite!(dequeue, b'V', 17, Buffer);
    nix::ioctl_write_ptr!(stream_on, b'V', 18, i32);
}

/// A camera that streams into mapped memory. Dropping it closes the device, which stops the stream.
pub struct Capture {
    kind: Kind,
    shape: Shape,
    // Fields are dropped in this order, so that the buffers are unmapped before the device is closed.
    buffers: Vec<Mapped>,
    device: File,
}

impl Capture {
    /// Opens a camera and starts its stream. The pictures are no smaller than `least` (height, width), if the camera
    /// has such a size.
    ///
    /// # Errors
    /// Returns a message that says what `path` is instead of a camera, or what the camera lacks.
    pub fn open(path: &Path, least: [u32; 2]) -> Result<Self, String> {
        let told = |error: io::Error| error.to_string();
        // With O_NONBLOCK, only `poll` waits for a frame, and it has a time limit.
        let without_waiting = OFlag::O_NONBLOCK.bits();
        let mut device = OpenOptions::new();
        let device = device.read(true).write(true).custom_flags(without_waiting).open(path).map_err(told)?;
        require_camera(&device)?;
        let (kind, shape) = choose_format(&device, [ASKED[0].max(least[0]), ASKED[1].max(least[1])])?;
        let failed = |error: io::Error| format!("the camera does not stream: {error}");
        let mut request = RequestBuffers { count: BUFFERS, kind: CAPTURE, memory: MMAP, rest: [0; 2] };
        call(calls::request_buffers, &device, &mut request).map_err(failed)?;
        let mut buffers = Vec::new();
        for index in 0..request.count {
            let mut buffer = Buffer::new(index);
            call(calls::query_buffer, &device, &mut buffer).map_err(failed)?;
            buffers.push(Mapped::new(&device, &buffer).map_err(failed)?);
            call(calls::queue, &device, &mut buffer).map_err(failed)?;
        }
        stream_on(&device).map_err(failed)?;
        Ok(Self { kind, shape, buffers, device })
    }

    /// Waits at most `patience` for a frame, and returns whether there is one.
    fn is_ready(&self, patience: PollTimeout) -> io::Result<bool> {
        loop {
            let mut files = [PollFd::new(self.device.as_fd(), PollFlags::POLLIN)];
            match poll(&mut files, patience) {
                Err(Errno::EINTR) => {}
                result => return Ok(result? > 0),
            }
        }
    }

    /// Takes the buffer of the newest frame from the driver. The buffers of older frames go back to the driver unseen.
    fn newest(&self) -> io::Result<Buffer> {
        if !self.is_ready(PollTimeout::from(1000 * PATIENCE))? {
            return Err(io::Error::other(format!("no frame for {PATIENCE} seconds")));
        }
        let mut newest = Buffer::new(0);
        call(calls::dequeue, &self.device, &mut newest)?;
        while self.is_ready(PollTimeout::ZERO)? {
            let mut newer = Buffer::new(0);
            call(calls::dequeue, &self.device, &mut newer)?;
            call(calls::queue, &self.device, &mut newest)?;
            newest = newer;
        }
        Ok(newest)
    }
}

impl Camera for Capture {
    fn frame(&mut self) -> Result<Picture, Failure> {
        let gone = |error: io::Error| Failure::Gone(error.to_string());
        let mut buffer = self.newest().map_err(gone)?;
        let bytes = self.buffers.get(buffer.index as usize).and_then(|b| b.bytes().get(..buffer.bytes_used as usize));
        let picture = match bytes {
            _ if buffer.flags & DAMAGED != 0 => Err("the camera marked it as damaged".to_owned()),
            Some(bytes) => contain::panics(|| decode(self.kind, self.shape, bytes)).flatten(),
            None => Err("it is longer than its buffer".to_owned()),
        };
        call(calls::queue, &self.device, &mut buffer).map_err(gone)?;
        picture.map_err(Failure::Damaged)
    }
}

fn require_camera(device: &File) -> Result<(), String> {
    let mut found =
        Capability { names: [0; 80], version: 0, capabilities: 0, device_capabilities: 0, reserved: [0; 3] };
    call(calls::query_capability, device, &mut found).map_err(|_| "not a camera, expected /dev/videoN".to_owned())?;
    let of_device = found.capabilities & HAS_DEVICE_CAPABILITIES != 0;
    let can = if of_device { found.device_capabilities } else { found.capabilities };
    let needed = CAN_CAPTURE | CAN_STREAM;
    if can & needed == needed {
        Ok(())
    } else {
        Err("this video device captures no frames; try another /dev/videoN".to_owned())
    }
}

/// Chooses uncompressed frames if the camera has them, and otherwise JPEG.
fn choose_format(device: &File, [height, width]: [u32; 2]) -> Result<(Kind, Shape), String> {
    let mut found = Vec::new();
    for (pixel_format, kind) in [(YUYV, Kind::Yuyv), (MJPEG, Kind::Mjpeg)] {
        let mut format = Format {
            kind: CAPTURE,
            padding: 0,
            width,
            height,
            pixel_format,
            field: 0,
            bytes_per_line: 0,
            rest: [0; 45],
        };
        call(calls::set_format, device, &mut format)
            .map_err(|error| format!("the camera accepts no format: {error}"))?;
        if format.pixel_format == pixel_format {
            let (height, width, stride) = (format.height, format.width, format.bytes_per_line.max(2 * format.width));
            return Ok((kind, Shape { height, width, stride }));
        }
        found.push(String::from_utf8_lossy(&format.pixel_format.to_le_bytes()).into_owned());
    }
    found.dedup();
    Err(format!("the camera delivers {} frames, expected YUYV or MJPG", found.join(" and ")))
}

impl Buffer {
    fn new(index: u32) -> Self {
        Self {
            index,
            kind: CAPTURE,
            bytes_used: 0,
            flags: 0,
            field: 0,
            padding: 0,
            timestamp: [0; 2],
            timecode: [0; 4],
            sequence: 0,
            memory: MMAP,
            offset: 0,
            length: 0,
            rest: [0; 3],
        }
    }
}

/// One of the driver's buffers, mapped into this program's memory.
struct Mapped {
    start: NonNull<u8>,
    len: usize,
}

impl Mapped {
    fn new(device: &File, buffer: &Buffer) -> io::Result<Self> {
        let (len, offset) = (buffer.length as usize, buffer.offset & u64::from(u32::MAX));
        let size = NonZeroUsize::new(len).ok_or_else(|| io::Error::other("the driver has an empty buffer"))?;
        // SAFETY: the kernel chooses the address of the new mapping, so it overlaps no memory that is in use.
        let start = unsafe { mmap(None, size, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, device, offset as i64)? };
        Ok(Self { start: start.cast(), len })
    }

    /// Returns the bytes of the buffer. They hold a whole frame only while the buffer is not queued at the driver.
    fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes are mapped readable for as long as `self` lives. The driver does not write to a buffer
        // that is not queued, and this program reads only such buffers, so the bytes do not change behind the
        // reference.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: `new` made this mapping with this length, and `&mut self` proves that no slice of it is in use. A
        // failure only leaves the memory mapped.
        let _ = unsafe { munmap(self.start.cast(), self.len) };
    }
}

/// Makes a call of the driver that reads and writes `value`. The call is repeated if a signal interrupts it.
fn call<T>(function: unsafe fn(RawFd, *mut T) -> nix::Result<i32>, device: &File, value: &mut T) -> io::Result<()> {
    loop {
        // SAFETY: `value` is a live, exclusive reference to the type that the call's number is made from. The types are
        // `repr(C)` and hold only integers, so whatever the kernel writes is a valid value.
        match unsafe { function(device.as_raw_fd(), value) } {
            Err(Errno::EINTR) => {}
            result => return Ok(result.map(|_| ())?),
        }
    }
}

fn stream_on(device: &File) -> io::Result<()> {
    let kind = CAPTURE as i32;
    // SAFETY: the call reads one `i32` through the pointer, and `kind` lives until the call returns.
    unsafe { calls::stream_on(device.as_raw_fd(), &kind)? };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_the_kernels_numbers() {
        let read_write = |number, size| nix::request_code_readwrite!(b'V', number, size);
        assert_eq!(nix::request_code_read!(b'V', 0, size_of::<Capability>()), 0x8068_5600);
        assert_eq!(read_write(5, size_of::<Format>()), 0xc0d0_5605);
        assert_eq!(read_write(8, size_of::<RequestBuffers>()), 0xc014_5608);
        assert_eq!(read_write(9, size_of::<Buffer>()), 0xc058_5609);
    }

    #[test]
    fn devices_that_are_not_cameras_are_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let problem = Capture::open(file.path(), [1, 1]).err();
        assert_eq!(problem.as_deref(), Some("not a camera, expected /dev/videoN"));
        assert!(Capture::open(Path::new("/nowhere"), [1, 1]).is_err_and(|problem| problem.contains("No such file")));
    }
}
