/// Writes the files of a board below `root`. In `text` a line `=== PATH` comes before the lines of each file.
pub fn unpack(text: &str, root: &std::path::Path) {
    let mut path = std::path::PathBuf::new();
    for line in text.lines() {
        match line.strip_prefix("=== ") {
            Some(name) => {
                path = root.join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, "").unwrap();
            }
            None => {
                let before = std::fs::read_to_string(&path).unwrap();
                std::fs::write(&path, before + line + "\n").unwrap();
            }
        }
    }
}
