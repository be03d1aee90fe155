//! Loads folders of pictures.

use std::path::{Path, PathBuf};

use resmlp_picture::Preprocess;
use resmlp_picture::dataset::Dataset;

#[test]
fn the_demo_ships_readable_pictures() {
    let preprocess = Preprocess { crop: 1.0, ..Preprocess::imagenet([32, 32]) };
    for (folder, least) in [("pictures", 8), ("calibration", 50)] {
        let dataset = Dataset::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo").join(folder)).unwrap();
        let loaded = dataset.load(&preprocess, &|| ()).unwrap();
        assert!(loaded.skipped.is_empty(), "{:?}", loaded.skipped);
        assert!(loaded.samples.len() >= least);
    }
}

#[test]
#[ignore = "needs the shared data: set RESMLP_SHARED"]
fn five_thousand_small_pictures_load() {
    let shared = PathBuf::from(std::env::var_os("RESMLP_SHARED").expect("RESMLP_SHARED names the folder"));
    let folder = shared.join("data/cifar10/test");
    let preprocess = Preprocess { crop: 1.0, ..Preprocess::imagenet([32, 32]) };
    let start = std::time::Instant::now();
    let dataset = Dataset::open_tree(folder).unwrap();
    let loaded = dataset.load(&preprocess, &|| ()).unwrap();
    println!("{} pictures in {:.2} s", loaded.samples.len(), start.elapsed().as_secs_f64());
    assert_eq!((loaded.samples.len(), loaded.skipped.len(), dataset.classes.len()), (5000, 0, 10));
    let few = dataset.take_evenly(64);
    let count = |class| few.items.iter().filter(|item| item.class == Some(class)).count();
    assert!((0..10).all(|class| [6, 7].contains(&count(class))));
}
