//! Decodes a camera's frames.

use resmlp_picture::Picture;

/// The Huffman tables of the JPEG standard's annex K (ITU-T T.81). Cameras leave them out of their frames, since every
/// frame would carry the same tables.
const STANDARD_TABLES: &[u8] = include_bytes!("standard_huffman_tables.bin");

/// Markers of a JPEG: start of image, definition of Huffman tables, start of scan.
const START: [u8; 2] = [0xff, 0xd8];
const TABLES: u8 = 0xc4;
const SCAN: u8 = 0xda;

/// Format of a camera's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Two pixels in four bytes: Y0, U, Y1, V, by ITU-R BT.601 with Y from 16 to 235, which USB cameras use.
    Yuyv,
    /// Each frame is a JPEG with or without Huffman tables.
    Mjpeg,
}

/// Height and width in pixels, and bytes from one row to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub height: u32,
    pub width: u32,
    pub stride: u32,
}

/// Decodes a frame.
///
/// # Errors
/// Returns a message that says what is wrong with the frame.
pub fn decode(kind: Kind, shape: Shape, bytes: &[u8]) -> Result<Picture, String> {
    match kind {
        Kind::Yuyv => yuyv(shape, bytes),
        Kind::Mjpeg => Picture::decode(&with_tables(bytes)?),
    }
}

fn yuyv(shape: Shape, bytes: &[u8]) -> Result<Picture, String> {
    let Shape { height, width, stride } = shape;
    let [rows, row, stride] = [height, width.div_ceil(2).saturating_mul(4), stride].map(|v| v as usize);
    let needed = rows.saturating_sub(1).saturating_mul(stride).saturating_add(row);
    if stride < row || bytes.len() < needed {
        return Err(format!("found {} bytes of YUYV, expected {needed} for {height} × {width} pixels", bytes.len()));
    }
    let mut rgb = Vec::with_capacity(rows * row / 2 * 3);
    for line in bytes.chunks(stride.max(1)).take(rows) {
        let pixels = line.as_chunks::<4>().0.iter().flat_map(|&[y0, u, y1, v]| [[y0, u, v], [y1, u, v]]);
        rgb.extend(pixels.take(width as usize).flat_map(to_rgb));
    }
    Picture::from_rgb(height, width, rgb).ok_or_else(|| format!("the frame has {height} × {width} pixels"))
}

/// Converts a pixel from BT.601 to RGB in fixed point. The result is exact to half a level.
fn to_rgb([y, u, v]: [u8; 3]) -> [u8; 3] {
    let [y, u, v] = [i32::from(y) - 16, i32::from(u) - 128, i32::from(v) - 128];
    let (grey, half) = (76_309 * y, 1 << 15);
    let channels = [grey + 104_597 * v, grey - 25_675 * u - 53_279 * v, grey + 132_201 * u];
    channels.map(|channel| ((channel + half) >> 16).clamp(0, 255) as u8)
}

/// Returns the JPEG with the standard Huffman tables inserted if it has none.
fn with_tables(jpeg: &[u8]) -> Result<Vec<u8>, String> {
    let Some(mut rest) = jpeg.strip_prefix(&START) else { return Err("the frame is no JPEG".into()) };
    // Each segment before the coded data begins with 0xff, its marker, and its length, which includes the two bytes of
    // the length.
    while let &[0xff, marker, high, low, ..] = rest {
        match marker {
            TABLES => return Ok(jpeg.to_vec()),
            SCAN => {
                let (head, scan) = jpeg.split_at(jpeg.len() - rest.len());
                return Ok([head, STANDARD_TABLES, scan].concat());
            }
            _ => rest = rest.get(2 + usize::from(u16::from_be_bytes([high, low]))..).unwrap_or_default(),
        }
    }
    Err("the JPEG is cut off".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { height: 2, width: 3, stride: 10 };

    #[test]
    fn colours_come_out_right() {
        // White, black, and the primaries at full level.
        for (yuv, rgb) in [
            ([235, 128, 128], [255, 255, 255]),
            ([16, 128, 128], [0, 0, 0]),
            ([81, 90, 240], [255, 0, 0]),
            ([145, 54, 34], [0, 255, 0]),
            ([41, 240, 110], [0, 0, 255]),
        ] {
            let found = to_rgb(yuv);
            assert!(found.iter().zip(rgb).all(|(a, b)| a.abs_diff(b) <= 1), "{yuv:?}: {found:?}, expected {rgb:?}");
        }
        assert_eq!((to_rgb([255, 255, 255])[0], to_rgb([0, 0, 0])[0]), (255, 0));
    }

    #[test]
    fn the_conversion_is_exact_to_half_a_level() {
        for y in (0..=255).step_by(5) {
            for (u, v) in [(0, 0), (0, 255), (255, 0), (77, 201), (128, 128), (255, 255)] {
                let [luma, blue, red] = [f64::from(y) - 16.0, f64::from(u) - 128.0, f64::from(v) - 128.0];
                let grey = 255.0 / 219.0 * luma;
                let scale = 255.0 / 224.0;
                let exact = [
                    grey + 1.402 * scale * red,
                    grey - (0.114 * 1.772 * blue + 0.299 * 1.402 * red) / 0.587 * scale,
                    grey + 1.772 * scale * blue,
                ];
                let found = to_rgb([y, u, v]);
                for (found, exact) in found.iter().zip(exact) {
                    assert!((f64::from(*found) - exact.clamp(0.0, 255.0)).abs() < 0.51, "{y} {u} {v}: {found} {exact}");
                }
            }
        }
    }

    #[test]
    fn padding_after_each_row_is_skipped() {
        // Each row has three pixels in eight bytes, and two bytes of padding.
        let row = |y: u8| [y, 128, y, 128, y, 128, 0, 128, 9, 9];
        let bytes = [row(16), row(235)].concat();
        let picture = decode(Kind::Yuyv, SHAPE, &bytes).unwrap();
        assert_eq!((picture.height(), picture.width()), (2, 3));
        assert_eq!(picture.rgb(), [[0; 9], [255; 9]].concat());
        // The last row may lack its padding.
        assert_eq!(decode(Kind::Yuyv, SHAPE, &bytes[..18]).as_ref(), Ok(&picture));
        for (shape, len) in [
            (SHAPE, 17),
            (SHAPE, 0),
            (Shape { stride: 7, ..SHAPE }, 20),
            (Shape { height: 0, ..SHAPE }, 20),
            (Shape { width: 0, stride: 0, ..SHAPE }, 20),
        ] {
            assert!(decode(Kind::Yuyv, shape, &bytes[..len]).is_err(), "{shape:?} {len}");
        }
        let huge = Shape { height: u32::MAX, width: u32::MAX, stride: u32::MAX };
        assert!(decode(Kind::Yuyv, huge, &bytes).is_err());
    }

    #[test]
    fn a_jpeg_without_tables_gets_the_standard_ones() {
        let whole = include_bytes!("../../tests/frames/camera.jpg");
        let position = whole.windows(STANDARD_TABLES.len()).position(|window| window == STANDARD_TABLES).unwrap();
        let bare = [&whole[..position], &whole[position + STANDARD_TABLES.len()..]].concat();
        assert!(Picture::decode(&bare).is_err(), "without tables it is no picture");
        let expected = Picture::decode(whole).unwrap();
        assert_eq!((expected.height(), expected.width()), (48, 64));
        for jpeg in [&whole[..], &bare] {
            assert_eq!(decode(Kind::Mjpeg, SHAPE, jpeg).as_ref(), Ok(&expected));
        }
        for len in [0, 1, 2, 20, position + 4, bare.len() / 2] {
            assert!(decode(Kind::Mjpeg, SHAPE, &bare[..len]).is_err(), "{len} bytes");
        }
    }
}
