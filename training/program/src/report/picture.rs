//! Puts pictures into the page itself.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use resmlp_picture::Picture;

/// Returns a picture as the URL of a PNG, or an empty URL where it cannot be encoded.
pub(super) fn data_url(picture: &Picture) -> String {
    match png(picture) {
        Ok(bytes) => format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes)),
        Err(_) => "data:,".to_owned(),
    }
}

fn png(picture: &Picture) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width(), picture.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(picture.rgb())?;
    writer.finish()?;
    Ok(bytes)
}
