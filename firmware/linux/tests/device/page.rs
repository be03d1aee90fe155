//! Opens the page that `bench --html` writes in a real browser.

use std::process::Command;

use serde_json::Value;

use crate::boards::place;
use crate::place::{DIMS, text};

/// Returns the name of a browser that this machine has.
fn browser() -> Option<&'static str> {
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(works)
}

#[test]
#[ignore = "needs a browser: install chromium"]
fn the_page_is_shown_by_a_browser() {
    let browser = browser().expect("chromium or google-chrome");
    let (place, root) = place("jetson-orin-nano");
    // Were this name not escaped, it would be markup.
    let mut command = place.program("bench m.rmlp --name <b>m.rmlp --runs 40 --threads 1 --json --html report.html");
    let output = command.env("RESMLP_DEVICE_ROOT", root).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let page = std::fs::read_to_string(place.path("report.html")).unwrap();
    for elsewhere in ["http:", "https:", "src=", "url(", "@import"] {
        assert!(!page.contains(elsewhere), "the page is not self-contained: {elsewhere}");
    }

    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.args(["--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", place.path("profile").display()));
    let output = command.arg(format!("file://{}", place.path("report.html").display())).output().unwrap();
    let (dom, log) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{log}");
    // Errors of the page and refusals of its content policy are console messages.
    assert!(!log.contains("CONSOLE"), "{log}");
    let visible = dom.split_once("<script").unwrap().0;
    assert!(visible.contains("<h1>&lt;b&gt;m.rmlp</h1>") && visible.contains("NVIDIA Jetson Orin Nano"), "{visible}");
    for name in ["min", "median", "p90", "p99", "max"] {
        let figure = format!("{:.3}", report["latency_ms"][name].as_f64().unwrap());
        assert!(visible.contains(&figure), "{name}: {figure}");
    }
    for layer in report["layers"].as_array().unwrap() {
        let (name, ms) = (layer["name"].as_str().unwrap(), layer["ms"].as_f64().unwrap());
        assert!(visible.contains(&format!(">{name}</text>")) && visible.contains(&format!(">{ms:.3} ms · ")), "{name}");
    }
    let energy = format!("{:.2} mJ", report["energy"]["millijoules_per_run"].as_f64().unwrap());
    assert!(visible.contains(&energy) && visible.contains("47.5 °C") && visible.contains("1510 MHz"), "{visible}");
    assert_eq!(visible.matches("<svg").count(), 3);
    assert!(visible.matches("<rect class=\"bar\"").count() > 2 + 2 * DIMS.depth);
    // The JSON within the page is the report on stdout.
    let inside = dom.split_once("id=\"report\">").and_then(|(_, rest)| rest.split_once("</script>")).unwrap().0;
    assert_eq!(serde_json::from_str::<Value>(inside).unwrap(), report);
}
