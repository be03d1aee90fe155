//! Operations on pixels.

use resmlp_train_data::Picture;
use resmlp_train_data::augment::canvas::Canvas;
use resmlp_train_data::augment::crop::{Cutter, Rectangle, padded};
use resmlp_train_data::augment::geometry::Filter;
use resmlp_train_data::augment::randaugment::Operation;
use resmlp_train_data::augment::{Padding, blur, colour};
use serde_json::Value;

use super::{cases, number, numbers, picture};

const OPERATIONS: [(&str, Operation); 15] = [
    ("AutoContrast", Operation::AutoContrast),
    ("Equalize", Operation::Equalise),
    ("Invert", Operation::Invert),
    ("Rotate", Operation::Rotate),
    ("PosterizeIncreasing", Operation::Posterise),
    ("SolarizeIncreasing", Operation::Solarise),
    ("SolarizeAdd", Operation::SolariseAdd),
    ("ColorIncreasing", Operation::Colour),
    ("ContrastIncreasing", Operation::Contrast),
    ("BrightnessIncreasing", Operation::Brightness),
    ("SharpnessIncreasing", Operation::Sharpness),
    ("ShearX", Operation::ShearX),
    ("ShearY", Operation::ShearY),
    ("TranslateXRel", Operation::TranslateX),
    ("TranslateYRel", Operation::TranslateY),
];

fn filter(name: &Value) -> Filter {
    match name.as_str().unwrap() {
        "nearest" => Filter::Nearest,
        "bilinear" => Filter::Bilinear,
        "bicubic" => Filter::Bicubic,
        other => panic!("filter {other}"),
    }
}

/// Applies a recorded operation.
fn apply(canvas: &mut Canvas, case: &Value, fill: [u8; 3]) {
    let value = || number(&case["value"]);
    let position = |name: &str| case[name].as_u64().unwrap() as u32;
    match case["operation"].as_str().unwrap() {
        "hue" => colour::hue(canvas, value()),
        "blur" => blur::gaussian(canvas, value()),
        "saturation" => colour::saturation(canvas, value()),
        "contrast" => colour::contrast(canvas, value()),
        "brightness" => colour::brightness(canvas, value()),
        "greyscale" => colour::greyscale(canvas),
        "solarise" => colour::solarise(canvas, value() as u32),
        "flip" => canvas.flip(),
        "padded" => {
            let padding = if case["padding"] == "reflect" { Padding::Reflect } else { Padding::Zero };
            padded(canvas, position("pixels"), padding, [position("top"), position("left")]);
        }
        name => {
            let (_, operation) = OPERATIONS.iter().find(|(known, _)| *known == name).unwrap();
            let negative = case["negative"].as_bool().unwrap();
            operation.apply(canvas, number(&case["strength"]), negative, filter(&case["filter"]), fill);
        }
    }
}

fn on_canvas(picture: &Picture) -> Canvas {
    let mut canvas = Canvas::default();
    canvas.load([picture.height() as usize, picture.width() as usize], picture.rgb());
    canvas
}

#[test]
fn operations_give_the_bits_of_pillow() {
    let fill: Vec<u8> = numbers(&cases("fill")).into_iter().map(|value| value as u8).collect();
    let recorded = cases("exact");
    let recorded = recorded.as_array().unwrap();
    assert!(recorded.len() > 100);
    for number in 0..3 {
        let original = on_canvas(&picture(&format!("picture_{number}.png")));
        let expected = picture(&format!("exact_{number}.png"));
        assert_eq!(expected.rgb().len(), recorded.len() * original.rgb().len());
        for (case, expected) in recorded.iter().zip(expected.rgb().chunks_exact(original.rgb().len())) {
            let mut canvas = original.clone();
            apply(&mut canvas, case, fill.clone().try_into().unwrap());
            let difference = canvas.rgb().iter().zip(expected).position(|(a, b)| a != b);
            assert_eq!(difference, None, "picture {number}, {case}: ours {:?}", canvas.rgb());
        }
    }
}

#[test]
fn crops_are_within_1_of_pillow() {
    let size = [16, 20];
    let mut cutter = Cutter::default();
    for number in 0..3 {
        let original = picture(&format!("picture_{number}.png"));
        let expected = picture(&format!("close_{number}.png"));
        let recorded = &cases("close")[number];
        let recorded = recorded.as_array().unwrap();
        assert_eq!(expected.rgb().len(), recorded.len() * size[0] * size[1] * 3);
        for (case, expected) in recorded.iter().zip(expected.rgb().chunks_exact(size[0] * size[1] * 3)) {
            let part: Vec<u32> = numbers(&case["part"]).into_iter().map(|side| side as u32).collect();
            let part = Rectangle { top: part[0], left: part[1], height: part[2], width: part[3] };
            let mut canvas = Canvas::default();
            cutter.cut(&original, part, filter(&case["filter"]), size, &mut canvas);
            let difference = canvas.rgb().iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(difference <= Some(1), "picture {number}, {case}: {difference:?}");
        }
    }
}

/// Pillow before version 13 gives black, and version 13 refuses to keep no bit.
#[test]
fn the_strongest_posterisation_gives_black() {
    let mut canvas = on_canvas(&picture("picture_0.png"));
    Operation::Posterise.apply(&mut canvas, 10.0, false, Filter::Bilinear, [0; 3]);
    assert!(canvas.rgb().iter().all(|&value| value == 0));
}
