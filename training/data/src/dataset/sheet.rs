//! Sheets: one PNG that shows all pictures of a small data set, a row for each class, and a JSON file that describes
//! it.

use std::path::Path;

use resmlp_picture::Picture;
use serde::Deserialize;

use super::entry::{Entry, OVERHEAD};
use super::{Found, Options, Parts, require_memory};
use crate::error::{DataError, Result};

/// Longest description, in bytes.
const LONGEST: u64 = 1 << 20;

/// What the JSON file says. Other fields, such as the source and the licence, are for readers.
#[derive(Deserialize)]
struct Description {
    /// Height and width of a picture in pixels.
    picture: [u32; 2],
    /// The classes, from the first row to the last.
    classes: Vec<Class>,
    /// Of the pictures of each class, counted from 1, those whose number is a multiple of this one are held out; 0 or
    /// none holds out nothing.
    #[serde(default)]
    held_out_every: u32,
}

/// A row of the sheet.
#[derive(Deserialize)]
struct Class {
    name: String,
    /// Number of pictures in the row, from the left.
    count: u32,
}

/// Reads a sheet: the JSON file at `path` and the PNG of the same name.
pub fn read(path: &Path, options: &Options) -> Result<Parts> {
    let text = resmlp_files::read(path, LONGEST).map_err(|error| DataError::io(path, error))?;
    let description: Description = serde_json::from_slice(&text).map_err(|error| {
        DataError::format(
            path,
            format!("not the description of a sheet ({error}); expected the fields picture and classes"),
        )
    })?;
    let png = path.with_extension("png");
    let sheet = Picture::open_within(&png, &options.limits).map_err(|error| match error {
        resmlp_picture::Error::Io { path, source } => DataError::Io { path, source },
        resmlp_picture::Error::File { path, message } => DataError::Format { path, message },
        other => DataError::format(&png, other.to_string()),
    })?;
    description.check(path, &png, &sheet)?;
    require_memory(path, description.bytes(), options)?;
    Ok(description.cut(&png, &sheet))
}

impl Description {
    /// Refuses a description that does not fit the sheet.
    fn check(&self, path: &Path, png: &Path, sheet: &Picture) -> Result<()> {
        let [height, width] = self.picture.map(u64::from);
        let most = self.classes.iter().map(|class| class.count).max().unwrap_or(0);
        let expected = [height.saturating_mul(self.classes.len() as u64), width.saturating_mul(most.into())];
        if expected.contains(&0) {
            return Err(DataError::format(path, "describes no pictures"));
        }
        let found = [sheet.height(), sheet.width()].map(u64::from);
        if found != expected {
            let message = format!(
                "found {} × {} pixels (height × width), expected {} × {}: a row of {height} pixels for each of the \
                 {} classes, and {most} pictures of {width} pixels in the longest one",
                found[0],
                found[1],
                expected[0],
                expected[1],
                self.classes.len()
            );
            return Err(DataError::format(png, message));
        }
        Ok(())
    }

    /// Returns how many bytes the pictures take.
    fn bytes(&self) -> u64 {
        let count: u64 = self.classes.iter().map(|class| u64::from(class.count)).sum();
        let [height, width] = self.picture.map(u64::from);
        count.saturating_mul(3 * height * width + OVERHEAD)
    }

    /// Cuts the sheet into its pictures.
    fn cut(&self, png: &Path, sheet: &Picture) -> Parts {
        let classes: Vec<String> = self.classes.iter().map(|class| class.name.clone()).collect();
        let mut training = Found { classes, pictures: Vec::new() };
        let mut held_out = Found { classes: training.classes.clone(), pictures: Vec::new() };
        for (label, class) in (0..).zip(&self.classes) {
            for column in 0..class.count {
                let name = format!("{}#{}/{column}", png.display(), class.name);
                let picture = self.picture_at(sheet, label, column);
                let is_held_out = self.held_out_every > 0 && (column + 1) % self.held_out_every == 0;
                let part = if is_held_out { &mut held_out } else { &mut training };
                part.pictures.push((label, Entry::in_memory(name, picture)));
            }
        }
        Parts { training, held_out: (!held_out.pictures.is_empty()).then_some(held_out) }
    }

    /// Cuts out one picture of a sheet that [`Description::check`] accepts.
    fn picture_at(&self, sheet: &Picture, row: u32, column: u32) -> Picture {
        let [height, width] = self.picture.map(|side| side as usize);
        let (length, left) = (3 * sheet.width() as usize, 3 * column as usize * width);
        let rows = sheet.rgb().chunks_exact(length).skip(row as usize * height).take(height);
        let rgb = rows.flat_map(|row| row[left..left + 3 * width].iter().copied()).collect();
        Picture::from_rgb(self.picture[0], self.picture[1], rgb).expect("a part of the sheet")
    }
}
