//! Operations on colours with the arithmetic of Pillow's `ImageOps` and `ImageEnhance`. The results equal Pillow's in
//! every bit.

use super::canvas::Canvas;

/// A value for each value of a channel.
type Table = [u8; 256];

/// Returns the table of a function.
fn table(function: impl Fn(u8) -> u8) -> Table {
    let mut table = [0; 256];
    for (value, entry) in (0..=255u8).zip(&mut table) {
        *entry = function(value);
    }
    table
}

/// Replaces all values by the tables of red, green and blue.
fn apply_tables(canvas: &mut Canvas, tables: &[Table; 3]) {
    for pixel in canvas.pixels_mut() {
        for (value, table) in pixel.iter_mut().zip(tables) {
            *value = table[usize::from(*value)];
        }
    }
}

/// Replaces the values of all channels by one table.
fn apply_table(canvas: &mut Canvas, table: &Table) {
    for value in canvas.rgb_mut() {
        *value = table[usize::from(*value)];
    }
}

/// Counts the values of red, green and blue.
fn histograms(canvas: &Canvas) -> [[u32; 256]; 3] {
    let mut histograms = [[0; 256]; 3];
    for pixel in canvas.rgb().as_chunks::<3>().0 {
        for (&value, histogram) in pixel.iter().zip(&mut histograms) {
            histogram[usize::from(value)] += 1;
        }
    }
    histograms
}

/// Stretches each channel to the whole range: `ImageOps.autocontrast`.
pub fn autocontrast(canvas: &mut Canvas) {
    let tables = histograms(canvas).map(|histogram| {
        let low = histogram.iter().position(|&count| count > 0).unwrap_or(0) as f64;
        let high = histogram.iter().rposition(|&count| count > 0).unwrap_or(0) as f64;
        if high <= low {
            return table(|value| value);
        }
        let scale = 255.0 / (high - low);
        let offset = -low * scale;
        table(|value| (f64::from(value) * scale + offset) as u8)
    });
    apply_tables(canvas, &tables);
}

/// Makes the values of each channel equally frequent: `ImageOps.equalize`.
pub fn equalise(canvas: &mut Canvas) {
    let tables = histograms(canvas).map(|histogram| {
        let last = histogram.iter().copied().rfind(|&count| count > 0).unwrap_or(0);
        let step = (histogram.iter().sum::<u32>() - last) / 255;
        if step == 0 {
            return table(|value| value);
        }
        let mut below = step / 2;
        let mut table = [0; 256];
        for (entry, count) in table.iter_mut().zip(histogram) {
            *entry = (below / step).min(255) as u8;
            below += count;
        }
        table
    });
    apply_tables(canvas, &tables);
}

/// Inverts all values: `ImageOps.invert`.
pub fn invert(canvas: &mut Canvas) {
    canvas.rgb_mut().iter_mut().for_each(|value| *value = 255 - *value);
}

/// Keeps the upper bits of all values: `ImageOps.posterize`. Eight bits and more change nothing.
pub fn posterise(canvas: &mut Canvas, bits: u32) {
    let mask = !(0xffu32.checked_shr(bits).unwrap_or(0)) as u8;
    canvas.rgb_mut().iter_mut().for_each(|value| *value &= mask);
}

/// Inverts the values from `threshold` upwards: `ImageOps.solarize`.
pub fn solarise(canvas: &mut Canvas, threshold: u32) {
    apply_table(canvas, &table(|value| if u32::from(value) < threshold { value } else { 255 - value }));
}

/// Adds `amount` to the values below 128: timm's `solarize_add`.
pub fn solarise_add(canvas: &mut Canvas, amount: u32) {
    apply_table(canvas, &table(|value| if value < 128 { (u32::from(value) + amount).min(255) as u8 } else { value }));
}

/// Returns the luminance that Pillow's conversion to `L` gives (ITU-R 601-2).
fn luminance([red, green, blue]: [u8; 3]) -> u8 {
    ((u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000) >> 16) as u8
}

/// Removes the colour: Pillow's conversion to `L` and back, and torchvision's `to_grayscale(num_output_channels=3)`.
pub fn greyscale(canvas: &mut Canvas) {
    canvas.pixels_mut().iter_mut().for_each(|pixel| *pixel = [luminance(*pixel); 3]);
}

/// Returns `from + factor · (to - from)` with the arithmetic of `Image.blend`, clipped to 0 … 255.
///
/// A conversion of Rust's clips the value and drops the fraction. Where the factor is 0 or 1, Pillow copies a picture
/// and computes nothing, and the formula gives the same.
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    (f32::from(from) + factor * f32::from(i16::from(to) - i16::from(from))) as u8
}

/// Changes the saturation: `ImageEnhance.Color`. The factor 0 removes the colour, and 1 changes nothing.
pub fn saturation(canvas: &mut Canvas, factor: f64) {
    let factor = factor as f32;
    for pixel in canvas.pixels_mut() {
        let grey = luminance(*pixel);
        *pixel = pixel.map(|value| blend(grey, value, factor));
    }
}

/// Changes the contrast: `ImageEnhance.Contrast`. The factor 0 gives the mean luminance, and 1 changes nothing.
pub fn contrast(canvas: &mut Canvas, factor: f64) {
    let pixels = canvas.rgb().as_chunks::<3>().0;
    let sum: u64 = pixels.iter().map(|&pixel| u64::from(luminance(pixel))).sum();
    let mean = (sum as f64 / pixels.len().max(1) as f64 + 0.5) as u8;
    let factor = factor as f32;
    apply_table(canvas, &table(|value| blend(mean, value, factor)));
}

/// Changes the brightness: `ImageEnhance.Brightness`. The factor 0 gives black, and 1 changes nothing.
pub fn brightness(canvas: &mut Canvas, factor: f64) {
    let factor = factor as f32;
    apply_table(canvas, &table(|value| blend(0, value, factor)));
}

/// Changes the sharpness: `ImageEnhance.Sharpness`. The factor 0 smooths, and 1 changes nothing.
pub fn sharpness(canvas: &mut Canvas, factor: f64) {
    let factor = factor as f32;
    let [height, width] = canvas.size();
    if height < 3 || width < 3 {
        return;
    }
    canvas.replace(|source, target| {
        // The outermost pixels have no neighbours on one side, and Pillow leaves them as they are.
        target.copy_from_slice(source);
        let (source, target) = (source.as_flattened(), target.as_flattened_mut());
        let row = 3 * width;
        for y in 1..height - 1 {
            let [above, here, below] = [y - 1, y, y + 1].map(|y| &source[y * row..(y + 1) * row]);
            let result = &mut target[y * row + 3..(y + 1) * row - 3];
            let neighbours = below.windows(7).zip(here.windows(7)).zip(above.windows(7));
            for (value, ((below, here), above)) in result.iter_mut().zip(neighbours) {
                *value = blend(smooth(below, here, above), here[3], factor);
            }
        }
    });
}

/// Returns the weighted mean of a value's neighbourhood with the arithmetic of Pillow's filter `SMOOTH`.
///
/// Each of the slices holds the values of three neighbouring pixels of one channel at positions 0, 3 and 6.
fn smooth(below: &[u8], here: &[u8], above: &[u8]) -> u8 {
    const OUTER: f32 = 1.0 / 13.0;
    const INNER: f32 = 5.0 / 13.0;
    let row = |values: &[u8], inner: f32| {
        f32::from(values[0]) * OUTER + f32::from(values[3]) * inner + f32::from(values[6]) * OUTER
    };
    (0.5 + row(below, OUTER) + row(here, INNER) + row(above, OUTER)) as u8
}

/// Turns the hue by a share of the circle from -0.5 to 0.5: torchvision's `adjust_hue` of a Pillow picture.
pub fn hue(canvas: &mut Canvas, turn: f64) {
    let turn = (turn * 255.0) as i32 as u8;
    for pixel in canvas.pixels_mut() {
        let [hue, saturation, value] = to_hsv(*pixel);
        *pixel = to_rgb([hue.wrapping_add(turn), saturation, value]);
    }
}

/// Converts red, green and blue to hue, saturation and value: Pillow's `convert("HSV")`.
fn to_hsv([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let saturation = range / f32::from(most);
    let [r, g, b] = [red, green, blue].map(|value| f32::from(most - value) / range);
    let sector = if red == most {
        b - g
    } else if green == most {
        (2.0 + f64::from(r) - f64::from(b)) as f32
    } else {
        (4.0 + f64::from(g) - f64::from(r)) as f32
    };
    let hue = ((f64::from(sector) / 6.0 + 1.0) % 1.0) as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

/// Converts hue, saturation and value to red, green and blue: Pillow's `convert("RGB")`.
fn to_rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let position = f64::from(hue) * 6.0 / 255.0;
    let sector = position.floor();
    let fraction = (position - sector) as f32;
    let saturation = (f64::from(saturation) / 255.0) as f32;
    let shade = |factor: f64| (f64::from(value) * (1.0 - factor)).round() as u8;
    let p = shade(f64::from(saturation));
    let q = shade(f64::from(saturation * fraction));
    let t = shade(f64::from(saturation) * (1.0 - f64::from(fraction)));
    match sector as u32 % 6 {
        0 => [value, t, p],
        1 => [q, value, p],
        2 => [p, value, t],
        3 => [p, q, value],
        4 => [t, p, value],
        _ => [value, p, q],
    }
}
