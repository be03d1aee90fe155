//! Takes frames from a camera that may be unplugged and plugged in again.

use std::thread::sleep;
use std::time::Duration;

use resmlp_picture::Picture;

use crate::error::Result;
use crate::output::say;

/// The reason why there is no frame.
#[derive(Debug, PartialEq)]
pub enum Failure {
    /// This frame is damaged. The next one may be whole.
    Damaged(String),
    /// The camera delivers no frames any more.
    Gone(String),
}

/// An open camera that delivers one frame after another.
pub trait Camera {
    /// Returns the newest frame.
    fn frame(&mut self) -> std::result::Result<Picture, Failure>;
}

/// Passes every frame to `show` until that returns false. A camera that was unplugged is opened again as soon as it is
/// back.
///
/// # Errors
/// Returns the errors of `show`, and an error if the camera cannot be opened the first time.
pub fn frames<C: Camera>(
    name: &str,
    mut open: impl FnMut() -> std::result::Result<C, String>,
    pause: Duration,
    show: &mut impl FnMut(Picture) -> Result<bool>,
) -> Result<()> {
    let mut camera = open().map_err(|problem| crate::error::Error::about(name, &problem))?;
    loop {
        match camera.frame() {
            Ok(picture) => {
                if !show(picture)? {
                    return Ok(());
                }
            }
            Err(Failure::Damaged(problem)) => say("note", &format!("{name}: passed over a damaged frame: {problem}")),
            Err(Failure::Gone(problem)) => {
                say("warning", &format!("{name}: {problem}; waiting for the camera to come back"));
                // The old handle is closed first, because a driver may allow only one.
                drop(camera);
                camera = loop {
                    sleep(pause);
                    if let Ok(camera) = open() {
                        break camera;
                    }
                };
                say("note", &format!("{name}: the camera is back"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use super::*;

    /// A camera that follows a script. `None` in the script is a failing attempt to open the camera.
    struct Played<'a>(&'a RefCell<VecDeque<Option<std::result::Result<u8, Failure>>>>);

    impl Camera for Played<'_> {
        fn frame(&mut self) -> std::result::Result<Picture, Failure> {
            let grey = self.0.borrow_mut().pop_front().unwrap().unwrap()?;
            Ok(Picture::from_rgb(1, 1, vec![grey; 3]).unwrap())
        }
    }

    fn play(script: Vec<Option<std::result::Result<u8, Failure>>>, count: usize) -> Result<Vec<u8>> {
        let script = RefCell::new(VecDeque::from(script));
        let open = || {
            let is_there = script.borrow().front().is_some_and(Option::is_some);
            if is_there {
                return Ok(Played(&script));
            }
            script.borrow_mut().pop_front();
            Err("no camera".to_owned())
        };
        let mut seen = Vec::new();
        frames("camera", open, Duration::ZERO, &mut |picture| {
            seen.push(picture.rgb()[0]);
            Ok(seen.len() < count)
        })?;
        Ok(seen)
    }

    #[test]
    fn it_survives_damage_and_being_unplugged() {
        let damaged = || Some(Err(Failure::Damaged("half a frame".into())));
        let gone = || Some(Err(Failure::Gone("no such device".into())));
        let script = vec![Some(Ok(1)), damaged(), Some(Ok(2)), gone(), None, None, Some(Ok(3)), gone(), Some(Ok(4))];
        assert_eq!(play(script, 4).unwrap(), [1, 2, 3, 4]);
    }

    #[test]
    fn one_that_never_was_there_is_an_error() {
        assert_eq!(play(vec![None], 1).unwrap_err().to_string(), "camera: no camera");
    }
}
